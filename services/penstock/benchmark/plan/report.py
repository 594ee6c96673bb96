"""A plan as text for people, with tables that are Markdown too, and as JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from penstock.benchmark.bench.report import align
from penstock.benchmark.plan.estimate import Goal, Prices, Row
from penstock.benchmark.plan.measure import Measured
from penstock.benchmark.plan.prediction import FUSED, Estimate, Visit, price, say

_LITTLE_SHARE = 0.9


def show(visits: Sequence[Visit], source: str, rows: Sequence[Row], prices: Prices) -> str:
    """Return the answer, what each step costs, and the other ways in a table."""
    chosen = rows[0].estimate
    assert chosen is not None
    lines = [_say_answer(rows[0], chosen, prices), "", *align(_step_rows(visits, chosen)), "", source, ""]
    return "\n".join([*lines, *align([_head(rows[0], prices), *(_cells(row, prices) for row in rows)])])


def show_json(visits: Sequence[Visit], measured: Measured | None, rows: Sequence[Row], prices: Prices) -> str:
    """Return everything as one JSON object, the way that was asked for first among `ways`."""
    document = {
        "steps": [{"step": each.step, "cpu_ms": round(each.secs * 1e3, 4), "pixels": each.pixels} for each in visits],
        "measured": measured and {name: value for name, value in vars(measured).items() if name != "visits"},
        "currency": prices.currency or None,
        "ways": [_document(row, prices) for row in rows],
    }
    return json.dumps(document, indent=2)


def say_source(measured: Measured) -> str:
    """Return how it was measured, in a sentence, and a warning where others used the cores."""
    told = (
        f"Measured here in {measured.secs:.1f} s: {measured.images} images, {measured.photos} different ones,"
        f" {measured.processes} at once."
    )
    if measured.share >= _LITTLE_SHARE:
        return told
    return f"{told}\nOther programs left {measured.share:.0%} of the cores; seconds are those of cores of one's own."


def _say_answer(row: Row, chosen: Estimate, prices: Prices) -> str:
    told = f"{chosen.images:,} images take {say(chosen.secs)}"
    if row.goal.kind == "cores":
        told += f" on {int(row.goal.value)} core{'s' * (row.goal.value != 1)} of one host"
    else:
        slowest = f", of which {chosen.slowest} is the slowest," if len(chosen.replicas) > 1 else ""
        told += f" with {_say_replicas(chosen)}{slowest}"
    told += f" and {chosen.cpu_secs / 3_600:,.2f} CPU-hours"
    return told + (f", and cost {_say_price(chosen, prices)}." if prices.cpu is not None else ".")


def _say_replicas(chosen: Estimate) -> str:
    return ", ".join(f"{count} × {stage}" for stage, count in chosen.replicas.items())


def _step_rows(visits: Sequence[Visit], chosen: Estimate) -> list[list[str]]:
    rows = [["step", "CPU an image", "replicas", "busy"]]
    for visit in visits:
        stage = FUSED if FUSED in chosen.replicas else visit.step
        rows.append([visit.step, say(visit.secs), str(chosen.replicas[stage]), f"{chosen.busy(stage):.0%}"])
    return rows


def _head(row: Row, prices: Prices) -> list[str]:
    cost = [f"cost {prices.currency}".rstrip()] if prices.cpu is not None else []
    return ["placement", "chunk", row.goal.kind, "replicas", "done in", "CPU-hours", *cost, "one image", "store"]


def _cells(row: Row, prices: Prices) -> list[str]:
    found = row.estimate
    start = [row.placement, str(row.chunk), _say_goal(row.goal)]
    if found is None:
        return [*start, "not possible", *["–"] * (len(_head(row, prices)) - 4)]
    return [
        *start,
        "–" if row.goal.kind == "cores" else _say_replicas(found),
        say(found.secs),
        f"{found.cpu_secs / 3_600:,.2f}",
        *([_say_money(_price(found, prices))] if prices.cpu is not None else []),
        say(found.cost.latency_secs),
        f"{found.images * found.cost.moved_bytes / 1e9:,.1f} GB",
    ]


def _say_goal(goal: Goal) -> str:
    return say(goal.value) if goal.kind == "deadline" else str(int(goal.value))


def _say_price(found: Estimate, prices: Prices) -> str:
    return f"{_say_money(_price(found, prices))} {prices.currency}".rstrip()


def _say_money(amount: float) -> str:
    return "< 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"


def _price(found: Estimate, prices: Prices) -> float:
    return price(found, prices.cpu or 0.0, prices.gpu, prices.gpu_steps)


def _document(row: Row, prices: Prices) -> dict[str, Any]:
    found = row.estimate
    asked = {"placement": row.placement, "chunk": row.chunk, row.goal.kind: row.goal.value}
    if found is None:
        return asked | {"possible": False}
    return asked | {
        "possible": True,
        "replicas_by_stage": dict(found.replicas),
        "busy": {stage: round(found.busy(stage), 4) for stage in found.replicas},
        "slowest": found.slowest,
        "seconds": round(found.secs, 3),
        "cpu_seconds": round(found.cpu_secs, 3),
        "paid_seconds": round(found.paid_secs, 3),
        "cost": None if prices.cpu is None else round(_price(found, prices), 4),
        "one_image_seconds": round(found.cost.latency_secs, 6),
        "store_bytes": found.images * found.cost.moved_bytes,
    }

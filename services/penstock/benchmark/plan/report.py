"""Report of `penstock plan`: text with Markdown tables, or JSON."""

import json
from collections.abc import Sequence
from typing import Any

from penstock.benchmark.bench.report import align
from penstock.benchmark.plan.estimate import Goal, Prices, Row
from penstock.benchmark.plan.measure import Measured
from penstock.benchmark.plan.prediction import FUSED, Estimate, Visit, price
from penstock.common.wording.durations import format_secs

_MIN_SHARE = 0.9


def show(visits: Sequence[Visit], source: str, rows: Sequence[Row], prices: Prices) -> str:
    """Return the answer, a table of the steps, and a table of the alternatives."""
    chosen = rows[0].estimate
    assert chosen is not None
    lines = [_format_answer(rows[0], chosen, prices), "", *align(_step_rows(visits, chosen)), "", source, ""]
    return "\n".join([*lines, *align([_head(rows[0], prices), *(_cells(row, prices) for row in rows)])])


def show_json(visits: Sequence[Visit], measured: Measured | None, rows: Sequence[Row], prices: Prices) -> str:
    """Return all estimates as one JSON object; the requested one is the first of `ways`."""
    document = {
        "steps": [{"step": each.step, "cpu_ms": round(each.secs * 1e3, 4), "pixels": each.pixels} for each in visits],
        "measured": measured and {name: value for name, value in vars(measured).items() if name != "visits"},
        "currency": prices.currency or None,
        "ways": [_document(row, prices) for row in rows],
    }
    return json.dumps(document, indent=2)


def describe_source(measured: Measured) -> str:
    """Return a sentence on the measurement, and a warning if other programs used the cores."""
    text = (
        f"Measured on this host in {measured.secs:.1f} s: {measured.images} images, {measured.photos} different ones,"
        f" {measured.processes} processes."
    )
    if measured.share >= _MIN_SHARE:
        return text
    return f"{text}\nOther programs left {measured.share:.0%} of the cores; times are for cores without other load."


def _format_answer(row: Row, chosen: Estimate, prices: Prices) -> str:
    text = f"{chosen.images:,} images take {format_secs(chosen.secs)}"
    if row.goal.kind == "cores":
        text += f" on {int(row.goal.value)} core{'s' * (row.goal.value != 1)} of one host"
    else:
        slowest = f"; {chosen.slowest} is the bottleneck" if len(chosen.replicas) > 1 else ""
        text += f" with {_format_replicas(chosen)}{slowest}"
    text += f". They use {chosen.cpu_secs / 3_600:,.2f} CPU-hours"
    return text + (f", and cost {_format_price(chosen, prices)}." if prices.cpu is not None else ".")


def _format_replicas(chosen: Estimate) -> str:
    return ", ".join(f"{count} × {stage}" for stage, count in chosen.replicas.items())


def _step_rows(visits: Sequence[Visit], chosen: Estimate) -> list[list[str]]:
    rows = [["step", "CPU per image", "replicas", "busy"]]
    for visit in visits:
        stage = FUSED if FUSED in chosen.replicas else visit.step
        rows.append([visit.step, format_secs(visit.secs), str(chosen.replicas[stage]), f"{chosen.busy(stage):.0%}"])
    return rows


def _head(row: Row, prices: Prices) -> list[str]:
    cost = [f"cost {prices.currency}".rstrip()] if prices.cpu is not None else []
    return ["placement", "chunk", row.goal.kind, "replicas", "done in", "CPU-hours", *cost, "one image", "store"]


def _cells(row: Row, prices: Prices) -> list[str]:
    found = row.estimate
    start = [row.placement, str(row.chunk), _format_goal(row.goal)]
    if found is None:
        return [*start, "not possible", *["–"] * (len(_head(row, prices)) - 4)]
    return [
        *start,
        "–" if row.goal.kind == "cores" else _format_replicas(found),
        format_secs(found.secs),
        f"{found.cpu_secs / 3_600:,.2f}",
        *([_format_money(_price(found, prices))] if prices.cpu is not None else []),
        format_secs(found.cost.latency_secs),
        f"{found.images * found.cost.moved_bytes / 1e9:,.1f} GB",
    ]


def _format_goal(goal: Goal) -> str:
    return format_secs(goal.value) if goal.kind == "deadline" else str(int(goal.value))


def _format_price(found: Estimate, prices: Prices) -> str:
    return f"{_format_money(_price(found, prices))} {prices.currency}".rstrip()


def _format_money(amount: float) -> str:
    return "< 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"


def _price(found: Estimate, prices: Prices) -> float:
    return price(found, prices.cpu or 0.0, prices.gpu, prices.gpu_steps)


def _document(row: Row, prices: Prices) -> dict[str, Any]:
    found = row.estimate
    request = {"placement": row.placement, "chunk": row.chunk, row.goal.kind: row.goal.value}
    if found is None:
        return request | {"possible": False}
    return request | {
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

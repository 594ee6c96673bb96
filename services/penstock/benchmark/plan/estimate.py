"""`penstock plan`: what a job will take, by what images cost here or on a running system, and what else would do."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from penstock.benchmark.bench.workloads import PHOTO_SUFFIXES
from penstock.benchmark.plan.measure import Measured, measure
from penstock.benchmark.plan.prediction import (
    Estimate,
    Placement,
    PlanningError,
    Visit,
    cost_image,
    meet_deadline,
    use_cores,
    use_replicas,
)
from penstock.common.model.errors import PenstockError
from penstock.common.model.op_syntax import read_op
from penstock.common.model.operations import Encode, Resize
from penstock.common.model.plan import Plan, make_plan
from penstock.common.settings import Limits
from penstock.local.run import default_workers
from penstock.worker.served_steps import available_steps

if TYPE_CHECKING:
    from penstock.client.sync_client import Client
    from penstock.common.model.rest import Job

SAMPLE_PHOTOS = 48
DRAWN_PICTURES = 12
SEARCHED_JOBS = 20
"""Of a running system, the newest: one of them may have done what is planned."""
Chunk = int | Literal["auto"]
_CHUNKS: tuple[Chunk, ...] = ("auto", 1, 8)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_MOST_DAYS = 3_650


@dataclass(frozen=True)
class Goal:
    """What is given: a deadline in seconds, a number of replicas, or a number of cores of one host."""

    kind: Literal["deadline", "replicas", "cores"]
    value: float

    def times(self, factor: float) -> Goal:
        """Return it so many times as large; replicas and cores stay whole."""
        value = self.value * factor
        return Goal(self.kind, value if self.kind == "deadline" else max(1, round(value)))


@dataclass(frozen=True)
class Prices:
    """Of a core and of a GPU for an hour; `gpu_steps` have one for each replica."""

    cpu: float | None = None
    gpu: float = 0.0
    gpu_steps: tuple[str, ...] = ()
    currency: str = ""


@dataclass(frozen=True)
class Row:
    """One way to do the job: what was asked of it, and what came of that, which may be nothing."""

    placement: Placement
    chunk: Chunk
    goal: Goal
    estimate: Estimate | None


def answer(visits: Sequence[Visit], images: int, goal: Goal, placement: Placement) -> list[Row]:
    """Return the way that was asked for, and then others: less and more of what was given, other chunks and placements.

    Raises:
        PlanningError: there is no such way.
    """
    first = Row(placement, "auto", goal, estimate(visits, images, goal, placement, "auto"))
    return [first, *(_try(visits, images, *way) for way in _others(goal, placement))]


def estimate(visits: Sequence[Visit], images: int, goal: Goal, placement: Placement, chunk: Chunk) -> Estimate:
    """Return what a job takes.

    Raises:
        PlanningError: it cannot be done so.
    """
    cost = cost_image(visits, placement, chunk, broker=goal.kind != "cores")
    if goal.kind == "deadline":
        return meet_deadline(cost, images, goal.value)
    if goal.kind == "replicas":
        return use_replicas(cost, images, int(goal.value))
    return use_cores(cost, images, int(goal.value))


def _others(goal: Goal, placement: Placement) -> Iterator[tuple[Goal, Placement, Chunk]]:
    other: Placement = "per_step" if placement == "fused" else "fused"
    for factor in (0.5, 2.0):
        if goal.times(factor) != goal:
            yield goal.times(factor), placement, "auto"
    for chunk in _CHUNKS[1:]:
        yield goal, placement, chunk
    for chunk in _CHUNKS:
        yield goal, other, chunk


def _try(visits: Sequence[Visit], images: int, goal: Goal, placement: Placement, chunk: Chunk) -> Row:
    try:
        return Row(placement, chunk, goal, estimate(visits, images, goal, placement, chunk))
    except PlanningError:
        return Row(placement, chunk, goal, None)


def measure_here(plan: Plan, photos: Path | None, size: tuple[int, int], secs: float, limits: Limits) -> Measured:
    """Measure on every core of this host: on photographs of a folder, or on drawn pictures of a size.

    Raises:
        PenstockError: no photograph there, none that the plan applies to, or a step that nobody here performs.
    """
    absent = sorted(set(plan.steps) - set(available_steps(program=False)))
    if absent:
        raise PenstockError("not_measured", f"{', '.join(absent)}: nobody here performs it; plan with --server URL")
    processes = default_workers()
    if photos is not None:
        return measure(plan, pick_photos(photos), processes, secs, limits)
    from penstock.local.sample_images import write_images

    with tempfile.TemporaryDirectory(prefix="penstock-plan-") as folder:
        return measure(plan, write_images(Path(folder), DRAWN_PICTURES, *size), processes, secs, limits)


def pick_photos(folder: Path) -> list[Path]:
    """Return photographs of a folder, some of them where there are many.

    Raises:
        PenstockError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not found:
        raise PenstockError("no_photographs", f"no JPEG or PNG below {folder}")
    return found[:: -(-len(found) // SAMPLE_PHOTOS)]


def ask_server(server: str, plan: Plan, size: tuple[int, int]) -> tuple[list[Visit], str]:
    """Return what images cost on a running system, and a sentence that says how it knows.

    That is by the last job that did the same, among the newest that have ended; or else over whatever it did lately.

    Raises:
        PenstockError: no answer, or a step that was not measured there.
    """
    try:
        from penstock.client.sync_client import Client
    except ModuleNotFoundError as error:
        raise PenstockError(
            "not_installed", f"{error.name} is not installed; pip install 'penstock[client]' brings it"
        ) from error
    with Client(server) as client:
        alike = _find_alike(client, plan)
        secs = _secs_of(alike) if alike else _secs_lately(client, server, plan)
    known = (
        f"in job {alike.id}, which did the same"
        if alike
        else f"over all its jobs: none of the last {SEARCHED_JOBS} did the same"
    )
    visits = [Visit(*visit) for visit in zip(plan.steps, secs, follow_pixels(plan, *size), strict=True)]
    return visits, f"Seconds as {server} measured them {known}."


def _find_alike(client: Client, plan: Plan) -> Job | None:
    """Return the newest job with the same operations that has ended and of which an image is done."""
    for known in client.jobs(limit=SEARCHED_JOBS):
        if known.has_ended and known.images.done:
            job = client.job(known.id)
            if job.operations == plan.document():
                return job
    return None


def _secs_of(job: Job) -> list[float]:
    return [step.work_seconds / (step.done + step.failed) for step in job.steps]


def _secs_lately(client: Client, server: str, plan: Plan) -> list[float]:
    lately = {step.name: step.seconds_per_image for step in client.steps()}
    unknown = sorted({step for step in plan.steps if lately.get(step) is None})
    if unknown:
        raise PenstockError(
            "not_measured",
            f"{server} has not measured {', '.join(unknown)} yet; send it a few pictures, or plan without --server",
        )
    return [lately[step] or 0.0 for step in plan.steps]


def follow_pixels(plan: Plan, width: int, height: int) -> list[int]:
    """Return the pixels of an image after each operation, over all parts, as far as parameters tell."""
    parts, pixels, found = 1, width * height, []
    for planned in plan.operations:
        parts *= planned.params.parts
        if isinstance(planned.params, Resize):
            pixels = parts * planned.params.width * planned.params.height
        found.append(pixels)
    return found


def read_plan(ops: Sequence[str], encode: dict[str, Any], limits: Limits) -> Plan:
    """Return the plan of `--op`, `--output`, `--quality` and `--effort`.

    Raises:
        PlanError: an operation that cannot be.
    """
    given = {name: value for name, value in encode.items() if value is not None}
    return make_plan([read_op(op) for op in ops], Encode.model_validate(given) if given else None, limits)


def read_secs(text: str) -> float:
    """Read a time: `90`, `90s`, `30m`, `2h`, `1h30m`, `1.5d`.

    Raises:
        ValueError: it is none, or nothing, or over ten years.
    """
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text[:40]!r} is not a time; accepted is a number with s, m, h or d, such as 2h or 1h30m")
    secs = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not 0 < secs <= _MOST_DAYS * _UNITS["d"]:
        raise ValueError(f"{text[:40]!r} cannot be; accepted is more than 0 and up to {_MOST_DAYS}d")
    return secs

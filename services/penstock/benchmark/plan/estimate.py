"""Estimates of `penstock plan`: what a job takes, by the cost of an image here or on a running system."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from penstock.benchmark.bench.workloads import find_images
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
from penstock.common.model.plan import Plan
from penstock.common.settings import Limits
from penstock.local.run import default_workers
from penstock.local.sample_images import write_images
from penstock.worker.process.served_steps import available_steps

if TYPE_CHECKING:
    from penstock.client.sync_client import Client
    from penstock.common.model.rest import Job

MAX_PICKED_IMAGES = 48
SAMPLE_IMAGES = 12
SEARCHED_JOBS = 20
"""Number of recent jobs of a running system that are searched for one with the same plan."""
Chunk = int | Literal["auto"]
_CHUNKS: tuple[Chunk, ...] = ("auto", 1, 8)


@dataclass(frozen=True)
class Goal:
    """What is given: a deadline in seconds, a number of replicas, or a number of cores of one host."""

    kind: Literal["deadline", "replicas", "cores"]
    value: float

    def times(self, factor: float) -> Goal:
        """Return it multiplied by a factor; replicas and cores are rounded."""
        value = self.value * factor
        return Goal(self.kind, value if self.kind == "deadline" else max(1, round(value)))


@dataclass(frozen=True)
class Prices:
    """Prices of a core and a GPU for an hour; each replica of `gpu_steps` has a GPU."""

    cpu: float | None = None
    gpu: float = 0.0
    gpu_steps: tuple[str, ...] = ()
    currency: str = ""


@dataclass(frozen=True)
class Row:
    """One way to run the job, and its estimate; None if it is not possible."""

    placement: Placement
    chunk: Chunk
    goal: Goal
    estimate: Estimate | None


def answer(visits: Sequence[Visit], images: int, goal: Goal, placement: Placement) -> list[Row]:
    """Return the requested way, then alternatives: half and twice the goal, other chunk sizes, the other placement.

    Raises:
        PlanningError: the requested way is not possible.
    """
    rows = [Row(placement, "auto", goal, estimate(visits, images, goal, placement, "auto"))]
    for other_goal, other_placement, chunk in _alternatives(goal, placement):
        found = None
        with suppress(PlanningError):
            found = estimate(visits, images, other_goal, other_placement, chunk)
        rows.append(Row(other_placement, chunk, other_goal, found))
    return rows


def estimate(visits: Sequence[Visit], images: int, goal: Goal, placement: Placement, chunk: Chunk) -> Estimate:
    """Return what a job takes.

    Raises:
        PlanningError: it is not possible in this way.
    """
    cost = cost_image(visits, placement, chunk, broker=goal.kind != "cores")
    if goal.kind == "deadline":
        return meet_deadline(cost, images, goal.value)
    if goal.kind == "replicas":
        return use_replicas(cost, images, int(goal.value))
    return use_cores(cost, images, int(goal.value))


def _alternatives(goal: Goal, placement: Placement) -> Iterator[tuple[Goal, Placement, Chunk]]:
    other: Placement = "per_step" if placement == "fused" else "fused"
    for factor in (0.5, 2.0):
        if goal.times(factor) != goal:
            yield goal.times(factor), placement, "auto"
    for chunk in _CHUNKS[1:]:
        yield goal, placement, chunk
    for chunk in _CHUNKS:
        yield goal, other, chunk


def measure_here(plan: Plan, photos: Path | None, size: tuple[int, int], secs: float, limits: Limits) -> Measured:
    """Measure on all cores of this host, with the images of a folder or with sample images of a size.

    Raises:
        PenstockError: the folder has no image, the plan applies to none, or a step cannot run on this host.
    """
    absent = sorted(set(plan.steps) - set(available_steps(program=False)))
    if absent:
        raise PenstockError("not_measured", f"{', '.join(absent)}: cannot run on this host; plan with --server URL")
    processes = default_workers()
    if photos is not None:
        return measure(plan, pick_images(photos), processes, secs, limits)
    with tempfile.TemporaryDirectory(prefix="penstock-plan-") as folder:
        return measure(plan, write_images(Path(folder), SAMPLE_IMAGES, *size), processes, secs, limits)


def pick_images(folder: Path) -> list[Path]:
    """Return the images of a folder, or an even sample of at most `MAX_PICKED_IMAGES`.

    Raises:
        PenstockError: there is none.
    """
    found = find_images(folder)
    if not found:
        raise PenstockError("no_photographs", f"no JPEG or PNG below {folder}")
    return found[:: -(-len(found) // MAX_PICKED_IMAGES)]


def ask_server(server: str, plan: Plan, size: tuple[int, int]) -> tuple[list[Visit], str]:
    """Return the cost of an image on a running system, and a sentence that names the source.

    The source is the newest job with the same plan among the last ones, or else the average of all jobs.

    Raises:
        PenstockError: no answer, or a step was not measured there.
    """
    try:
        from penstock.client.sync_client import Client
    except ModuleNotFoundError as error:
        raise PenstockError(
            "not_installed", f"{error.name} is not installed; install it with: pip install 'penstock[client]'"
        ) from error
    with Client(server) as client:
        job = _find_similar_job(client, plan)
        if job:
            secs = [step.work_seconds / (step.done + step.failed) for step in job.steps]
            source = f"in job {job.id}, which has the same plan"
        else:
            secs = _average_secs(client, server, plan)
            source = f"over all its jobs: none of the last {SEARCHED_JOBS} has the same plan"
    visits = [Visit(*visit) for visit in zip(plan.steps, secs, follow_pixels(plan, *size), strict=True)]
    return visits, f"Times as measured by {server} {source}."


def _find_similar_job(client: Client, plan: Plan) -> Job | None:
    """Return the newest job with the same plan that has ended and of which an image is done."""
    for recent in client.jobs(limit=SEARCHED_JOBS):
        if recent.has_ended and recent.images.done:
            job = client.job(recent.id)
            if job.operations == plan.canonical():
                return job
    return None


def _average_secs(client: Client, server: str, plan: Plan) -> list[float]:
    secs = {step.name: step.seconds_per_image for step in client.steps()}
    unknown = sorted({step for step in plan.steps if secs.get(step) is None})
    if unknown:
        raise PenstockError(
            "not_measured",
            f"{server} has not measured {', '.join(unknown)} yet; run a small job there, or plan without --server",
        )
    return [secs[step] or 0.0 for step in plan.steps]


def follow_pixels(plan: Plan, width: int, height: int) -> list[int]:
    """Return the pixels of all parts of an image after each operation; a step that does not say keeps them."""
    sizes, found = Counter({(width, height): 1}), []
    for planned in plan.operations:
        made: Counter[tuple[int, int]] = Counter()
        for size, parts in sizes.items():
            for part, count in (planned.params.sizes(*size) or {size: 1}).items():
                made[part] += count * parts
        sizes = made
        found.append(sum(across * down * parts for (across, down), parts in sizes.items()))
    return found

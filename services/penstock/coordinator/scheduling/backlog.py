"""What is left to do for steps: images that will still reach them, not yet dispatched ones included, and their work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.ports.scheduler import Backlog

UNMEASURED_SECS = 1.0
"""What an image is taken to cost in a step that has not worked on any yet: enough to ask for a worker."""
_LEAST_SECS = 0.000_1
"""Work left is never nothing while an image is, however quick the step."""


class View(Protocol):
    """What is known of the images under way and of speeds: `Live`, or `Told` by the leader."""

    def positions(self, job: str) -> list[tuple[int, int]]:
        """Return `(waiting, running)` images for each operation of the plan; empty where none is under way."""

    def seconds_of(self, plan: StoredPlan) -> list[float | None]:
        """Return the work one image takes in each operation of a plan; None before any was measured in its step."""


def count_left(jobs: Iterable[Job], view: View) -> dict[str, tuple[int, float]]:
    """Count, for each step, the images of open jobs that have not passed it, and their work in seconds.

    A step that they visit twice counts twice; what was never measured is no work.
    """
    left: dict[str, tuple[int, float]] = {}
    for job in jobs:
        for step, images, secs in _yet_to_pass(job, view):
            before = left.get(step, (0, 0.0))
            left[step] = before[0] + images, before[1] + images * (secs or 0.0)
    return left


def measure_backlog(steps: Sequence[str], jobs: Sequence[Job], view: View, workers: Callable[[str], int]) -> Backlog:
    """Return what is left over some steps together: an image counts once, its work in every one of them."""
    remaining, work = 0, 0.0
    for job in jobs:
        visits = [(images, secs) for step, images, secs in _yet_to_pass(job, view) if step in steps]
        remaining += max((images for images, _ in visits), default=0)
        work += sum(images * max(_LEAST_SECS, UNMEASURED_SECS if secs is None else secs) for images, secs in visits)
    return Backlog(tuple(steps), work, remaining, max(map(workers, steps), default=0))


def _yet_to_pass(job: Job, view: View) -> Iterator[tuple[str, int, float | None]]:
    """Yield, for each operation of a job's plan, its step, how many images have not passed it, and one's seconds."""
    left = job.pending + job.queued + job.running
    under_way = [waiting + running for waiting, running in view.positions(job.id)] or [0] * len(job.plan.steps)
    for index, (step, secs) in enumerate(zip(job.plan.steps, view.seconds_of(job.plan), strict=True)):
        yield step, max(0, left - sum(under_way[index + 1 :])), secs

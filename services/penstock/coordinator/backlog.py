"""What is left to do for steps: images that will still reach them, not yet dispatched ones included, and their work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from penstock.coordinator.engine_port import Backlog, StepStatus
from penstock.coordinator.repository import Job

UNMEASURED_SECS = 1.0
"""What an image is taken to cost in a step that has not worked on any yet: enough to ask for a worker."""
_LEAST_SECS = 0.000_1
"""Work left is never nothing while an image is, however quick the step."""


class View(Protocol):
    """What is known of the images under way and of speeds: `Live`, or `Told` by the leader."""

    def positions(self, job: str) -> list[tuple[int, int]]:
        """Return `(waiting, running)` images for each operation of the plan; empty where none is under way."""

    def seconds_per_image(self, step: str) -> float | None:
        """Return the work one image takes in a step."""


def count_remaining(jobs: Iterable[Job], view: View) -> dict[str, int]:
    """Count, for each step, the images of open jobs that have not passed it; a step visited twice counts twice."""
    remaining: dict[str, int] = {}
    for job in jobs:
        for step, images in _yet_to_pass(job, view):
            remaining[step] = remaining.get(step, 0) + images
    return remaining


def measure_backlog(steps: Sequence[str], jobs: Sequence[Job], view: View, workers: Callable[[str], int]) -> Backlog:
    """Return what is left over some steps together: an image counts once, its work in every one of them."""
    work = {step: max(_LEAST_SECS, _secs_or_guess(view.seconds_per_image(step))) for step in steps}
    remaining, secs = 0, 0.0
    for job in jobs:
        visits = [(step, images) for step, images in _yet_to_pass(job, view) if step in work]
        remaining += max((images for _, images in visits), default=0)
        secs += sum(images * work[step] for step, images in visits)
    return Backlog(tuple(steps), secs, remaining, max(map(workers, steps), default=0))


def find_bottleneck(statuses: Sequence[StepStatus]) -> StepStatus | None:
    """Return the step that holds the whole system back; None where nothing is left to do, or nothing is known of it.

    It is the one whose workers need longest for what is left. A step without a worker holds everything back: of
    several such, the one at which most chunks wait.
    """
    needed = [status for status in statuses if status.remaining and (status.workers == 0 or status.backlog_seconds)]
    return max(needed, key=_hindrance, default=None)


def _hindrance(status: StepStatus) -> tuple[bool, int, float]:
    secs = status.remaining * _secs_or_guess(status.seconds_per_image)
    return (True, status.ready, secs) if status.workers == 0 else (False, 0, secs / status.workers)


def _yet_to_pass(job: Job, view: View) -> Iterator[tuple[str, int]]:
    """Yield, for each operation of a job's plan, its step and how many images have not passed it."""
    left = job.pending + job.queued + job.running
    under_way = [waiting + running for waiting, running in view.positions(job.id)] or [0] * len(job.plan)
    for index, operation in enumerate(job.plan):
        yield str(operation["op"]), max(0, left - sum(under_way[index + 1 :]))


def _secs_or_guess(secs: float | None) -> float:
    return UNMEASURED_SECS if secs is None else secs

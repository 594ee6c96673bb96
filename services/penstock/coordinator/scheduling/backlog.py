"""Backlog: the images that have yet to pass each step, dispatched or not, and the seconds of work they need."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from penstock.coordinator.ports.repository import Job
from penstock.coordinator.ports.scheduler import Backlog
from penstock.coordinator.scheduling.snapshot import Snapshot

UNMEASURED_SECS = 1.0
"""Assumed service time of a step that has not been measured yet: enough to ask for a worker."""
_MIN_SECS = 0.000_1
"""Backlog is never 0 while images are left, however fast the step is."""


def count_remaining(jobs: Iterable[Job], snapshot: Snapshot) -> dict[str, tuple[int, float]]:
    """Return, for each step, the images of open jobs that have not passed it, and their work in seconds.

    Images count twice for a step that they visit twice. Unmeasured steps count no work.
    """
    totals: dict[str, tuple[int, float]] = {}
    for job in jobs:
        for step, images, secs in _remaining_visits(job, snapshot):
            total_images, total_secs = totals.get(step, (0, 0.0))
            totals[step] = total_images + images, total_secs + images * (secs or 0.0)
    return totals


def measure_backlog(
    steps: Sequence[str], jobs: Iterable[Job], snapshot: Snapshot, count_workers: Callable[[str], int]
) -> Backlog:
    """Return the work left for some steps together. An image counts once, its work for each of its visits."""
    remaining, work_secs = 0, 0.0
    for job in jobs:
        visits = [(images, secs) for step, images, secs in _remaining_visits(job, snapshot) if step in steps]
        remaining += max((images for images, _ in visits), default=0)
        work_secs += sum(images * max(_MIN_SECS, UNMEASURED_SECS if secs is None else secs) for images, secs in visits)
    return Backlog(tuple(steps), work_secs, remaining, max(map(count_workers, steps), default=0))


def _remaining_visits(job: Job, snapshot: Snapshot) -> Iterator[tuple[str, int, float | None]]:
    """Yield, for each operation of a job, its step, the images that have not passed it, and its service time."""
    remaining = job.pending + job.queued + job.running
    in_flight = [waiting + running for waiting, running in snapshot.job(job.id).positions] or [0] * len(job.plan.steps)
    for index, (step, secs) in enumerate(zip(job.plan.steps, snapshot.service_times(job.plan), strict=True)):
        yield step, max(0, remaining - sum(in_flight[index + 1 :])), secs

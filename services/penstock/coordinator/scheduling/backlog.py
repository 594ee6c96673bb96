"""Backlog: the images that have yet to pass each step, dispatched or not, and the seconds of work they need.

From it follows the forecast of a job: the step that limits it, and how long it will take.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from penstock.common.model.plan import Branch
from penstock.coordinator.ports.repository import Job
from penstock.coordinator.ports.scheduler import Backlog, Forecast, JobProgress, StepStatus
from penstock.coordinator.scheduling.advice import FindReplicas, WorkerPool, make_pools, sort_by_need
from penstock.coordinator.scheduling.snapshot import Snapshot

UNMEASURED_SECS = 1.0
"""Assumed service time of a step that has not been measured yet: enough to ask for a worker."""
MIN_SECS = 0.000_1
"""Backlog is never 0 while images are left, however fast the step is."""

Visit = tuple[str, int, float | None]
"""A step, the images that have not passed it, and its service time."""


def count_remaining(jobs: Iterable[Job], snapshot: Snapshot) -> dict[str, tuple[int, float]]:
    """Return, for each step, the images of open jobs that have not passed it, and their work in seconds.

    Images count twice for a step that they visit twice. Unmeasured steps count no work.
    """
    totals: dict[str, tuple[int, float]] = {}
    for job in jobs:
        for step, images, secs in remaining_visits(job, snapshot):
            total_images, total_secs = totals.get(step, (0, 0.0))
            totals[step] = total_images + images, total_secs + images * (secs or 0.0)
    return totals


def measure_backlog(
    steps: Sequence[str], jobs: Iterable[Job], snapshot: Snapshot, count_workers: Callable[[str], int]
) -> Backlog:
    """Return the work left for some steps together. An image counts once, its work for each of its visits."""
    remaining, work_secs = 0, 0.0
    for job in jobs:
        visits = [(images, secs) for step, images, secs in remaining_visits(job, snapshot) if step in steps]
        remaining += max((images for images, _ in visits), default=0)
        work_secs += sum(images * max(MIN_SECS, UNMEASURED_SECS if secs is None else secs) for images, secs in visits)
    return Backlog(tuple(steps), work_secs, remaining, max(map(count_workers, steps), default=0))


def forecast(
    job: Job, snapshot: Snapshot, count_workers: Callable[[str], int], find_replicas: FindReplicas
) -> Forecast:
    """Return what limits an open job, as `advise` finds it for all jobs together, and how long it will take.

    The pool of workers that needs longest for the job's work determines its end. In the others, one image passes after
    that, or before it. While its workers wait for something, nobody knows how long it will take.
    """
    visits = [*remaining_visits(job, snapshot)]
    pools = make_pools([*_job_statuses(job, visits, snapshot, count_workers)], find_replicas)
    needy = sort_by_need(pools)
    bottleneck = needy[0].steps[0] if needy else None
    is_unknown = any(images and (secs is None or not count_workers(step)) for step, images, secs in visits)
    shared = tuple(pool.steps for pool in pools)
    if is_unknown or snapshot.job(job.id).waiting_for is not None:
        return Forecast(bottleneck, None, shared)
    finish_secs = [_finish_secs(job, visits, snapshot, pool) for pool in pools]
    image_secs = [sum(secs or 0.0 for step, images, secs in visits if images and step in pool.steps) for pool in pools]
    passing_secs = sum(image_secs)
    ends = (finish + passing_secs - one for finish, one in zip(finish_secs, image_secs, strict=True))
    return Forecast(bottleneck, max(ends, default=0.0), shared)


def _job_statuses(
    job: Job, visits: Sequence[Visit], snapshot: Snapshot, count_workers: Callable[[str], int]
) -> Iterator[StepStatus]:
    """Yield the status of each step of a job, with its own images and work alone."""
    positions = snapshot.job(job.id).positions or [(0, 0)] * len(visits)
    for name in dict.fromkeys(job.plan.steps):
        own = [(images, secs) for step, images, secs in visits if step == name]
        here = [place for place, (step, _, _) in zip(positions, visits, strict=True) if step == name]
        yield StepStatus(
            name=name,
            workers=count_workers(name),
            ready=sum(waiting for waiting, _ in here),
            in_flight=sum(running for _, running in here),
            remaining=sum(images for images, _ in own),
            backlog_seconds=None if None in [secs for _, secs in own] else sum(n * (secs or 0.0) for n, secs in own),
            shared_with=tuple(sorted(snapshot.shared_with(name))),
        )


def _finish_secs(job: Job, visits: Sequence[Visit], snapshot: Snapshot, pool: WorkerPool) -> float:
    """Return how long a pool needs for a job's work, of which running images have done a part.

    While other jobs use the pool, too, it is the job's share of the workers. A chunk keeps one of them busy.
    """
    images = max((images for step, images, _ in visits if step in pool.steps), default=0)
    if not images:
        return 0.0
    progress = snapshot.job(job.id)
    work_secs = max(0.0, (pool.backlog_secs or 0.0) - _done_secs(visits, progress, pool))
    running = progress.running or [(0, 0.0)] * len(visits)
    own_chunks = sum(chunks for (step, _, _), (chunks, _) in zip(visits, running, strict=True) if step in pool.steps)
    all_chunks = sum(snapshot.running_chunks.get(step, 0) for step in pool.steps)
    share = own_chunks / max(own_chunks, all_chunks) if own_chunks else 1 / max(1, len(snapshot.jobs))
    chunks_left = math.ceil(images / (job.chunk_size or 1))
    return work_secs / min(chunks_left, max(1.0, own_chunks, pool.workers * share))


def _done_secs(visits: Sequence[Visit], progress: JobProgress, pool: WorkerPool) -> float:
    """Return the work that running images have behind them: no more than is expected of them in this pool."""
    total = 0.0
    for index, (_, secs) in enumerate(progress.running):
        if visits[index][0] in pool.steps:
            expected_secs = sum(secs or 0.0 for step, _, secs in visits[index:] if step in pool.steps)
            total += min(secs, progress.positions[index][1] * expected_secs)
    return total


def remaining_visits(job: Job, snapshot: Snapshot) -> Iterator[Visit]:
    """Yield, for each operation of a job, its step, the images that have not passed it, and its service time.

    Images that have yet to reach the operations of their own output are expected to be as many of each.
    """
    remaining, layout = job.pending + job.queued + job.running, job.plan.layout
    if layout.gather:
        yield from _remaining_with_groups(job, layout.gather, remaining - job.open_groups, snapshot)
        return
    in_flight = [waiting + running for waiting, running in snapshot.job(job.id).positions] or [0] * len(job.plan.steps)
    before_fork = max(0, remaining - sum(in_flight[max(layout.fork, 1) :]))
    for index, (step, secs) in enumerate(zip(job.plan.steps, snapshot.service_times(job.plan), strict=True)):
        branch = layout.branch_at(index)
        if branch is None:
            yield step, max(0, remaining - sum(in_flight[index + 1 :])), secs
        else:
            own = sum(in_flight[max(branch.start, 1 - layout.fork) : index + 1])
            yield step, -(-before_fork // layout.count) + own, secs


def _remaining_with_groups(job: Job, gather: Branch, images: int, snapshot: Snapshot) -> Iterator[Visit]:
    """Yield as `remaining_visits`; `images` of a job have not ended, and neither have its open groups."""
    in_flight = [waiting + running for waiting, running in snapshot.job(job.id).positions] or [0] * gather.end
    for index, (step, secs) in enumerate(zip(job.plan.steps, snapshot.service_times(job.plan), strict=True)):
        if index < gather.start:
            yield step, max(0, images - sum(in_flight[index + 1 : gather.start])), secs
        else:
            yield step, max(0, job.open_groups - sum(in_flight[index + 1 :])), secs

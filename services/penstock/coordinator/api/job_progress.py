"""Job progress: the counters of a job's row, combined with its images in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from penstock.common.model.jobs import TERMINAL_JOB_STATES
from penstock.common.model.rest import StepProgress
from penstock.coordinator.ports.repository import Job, StepTotals
from penstock.coordinator.ports.scheduler import Scheduler


@dataclass(frozen=True)
class Progress:
    """A job's progress; `bottleneck` is the step with the most work left. Unknown values are None."""

    steps: list[StepProgress]
    images_per_second: float | None
    eta_seconds: float | None
    bottleneck: str | None


def job_progress(job: Job, scheduler: Scheduler) -> Progress:
    """Return a job's current progress."""
    steps = _steps(job, scheduler.positions(job.id))
    if job.state in TERMINAL_JOB_STATES:
        return Progress(steps, _average_rate(job), None, None)
    left = job.pending + job.queued + job.running
    rate = scheduler.images_per_second(job.id)
    return Progress(steps, rate, left / rate if rate else None, _bottleneck(job, steps, scheduler))


def _steps(job: Job, live: Sequence[tuple[int, int]]) -> list[StepProgress]:
    count = len(job.plan.steps)
    in_flight = list(live) or [(0, 0)] * count
    totals = job.steps or [StepTotals()] * count
    # Images at a later operation have passed this one, but the row counts them only when they end.
    later = [0, *accumulate(waiting + running for waiting, running in reversed(in_flight))][-2::-1]
    return [
        StepProgress(
            step=step,
            waiting=waiting + (job.pending if index == 0 else 0),
            running=running,
            done=total.done + passed,
            failed=total.failed,
            wait_seconds=total.wait_secs,
            work_seconds=total.work_secs,
        )
        for index, (step, (waiting, running), total, passed) in enumerate(
            zip(job.plan.steps, in_flight, totals, later, strict=True)
        )
    ]


def _bottleneck(job: Job, steps: Sequence[StepProgress], scheduler: Scheduler) -> str | None:
    left = list(accumulate(step.waiting + step.running for step in steps))
    work: dict[str, float] = {}
    for step, images, secs in zip(steps, left, scheduler.service_times(job.plan), strict=True):
        work[step.step] = work.get(step.step, 0.0) + images * (secs or 0.0)
    slowest = max(work, key=lambda name: work[name])
    return slowest if work[slowest] > 0 else None


def _average_rate(job: Job) -> float | None:
    if job.started_at is None or job.finished_at is None or job.finished_at <= job.started_at:
        return None
    return job.done / (job.finished_at - job.started_at)

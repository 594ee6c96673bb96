"""Progress combines a job's row with its images in flight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from penstock.common.model.jobs import JobState
from penstock.coordinator.api.views import view_job
from penstock.coordinator.ports.repository import Job, StepTotals, StoredPlan
from penstock.coordinator.ports.scheduler import Forecast, JobProgress

STEPS = ("resize", "blur", "blur", "encode")


class SchedulerStub:
    """A scheduler that knows positions, a rate and a forecast only."""

    def __init__(self, live: list[tuple[int, int]], rate: float | None = None) -> None:
        self._live = live
        self._rate = rate

    def progress(self, job: str) -> JobProgress:
        return JobProgress(self._live, self._rate)

    def forecast(self, job: Job) -> Forecast:
        return Forecast("blur", 2.5, (("resize", "blur"), ("encode",)))


def job(**changes: Any) -> Job:
    """A running job of four operations."""
    made = Job("j", JobState.RUNNING, StoredPlan([{"op": step} for step in STEPS]), {}, created_at=1.0)
    return replace(made, **changes)


def test_every_image_counts_once_before_in_or_past_each_operation() -> None:
    found = job(total=20, pending=7, queued=4, running=3, done=5, failed=1, steps=[StepTotals(done=6)] * 4)
    steps = view_job(found, SchedulerStub([(2, 1), (1, 0), (0, 2), (1, 0)])).steps
    assert [(step.waiting, step.running, step.done) for step in steps] == [(9, 1, 10), (1, 0, 9), (0, 2, 7), (1, 0, 6)]
    assert all(step.waiting + step.running + step.done <= 20 for step in steps)


def test_operations_that_the_same_workers_do_without_a_wait_are_joined() -> None:
    """By the seconds of its images, once it has any; before that by what is known of the workers."""
    waiting = view_job(job(total=9, pending=9), SchedulerStub([])).steps
    assert [step.joined for step in waiting] == [False, True, True, False]
    totals = [StepTotals(1, 0, wait, 1.0) for wait in (0.5, 0.0, 0.25, 0.0)]
    for state in (JobState.RUNNING, JobState.SUCCEEDED):
        done = view_job(job(state=state, total=1, done=1, steps=totals), SchedulerStub([])).steps
        assert [step.joined for step in done] == [False, True, False, True]


def test_an_open_job_shows_the_schedulers_forecast() -> None:
    progress = view_job(job(total=10, pending=10), SchedulerStub([], 4.0))
    assert (progress.images_per_second, progress.eta_seconds, progress.bottleneck) == (4.0, 2.5, "blur")


def test_a_finished_job_shows_its_average_rate_and_no_eta() -> None:
    ended = job(state=JobState.PARTIAL, done=8, failed=2, started_at=10.0, worked_secs=4.0, finished_at=99.0)
    progress = view_job(ended, SchedulerStub([], 99.0))
    assert (progress.images_per_second, progress.eta_seconds, progress.bottleneck) == (2.0, None, None)
    assert view_job(job(state=JobState.CANCELLED, finished_at=14.0), SchedulerStub([])).images_per_second is None

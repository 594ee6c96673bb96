"""Progress combines a job's row with its images in flight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.common.model.jobs import JobState
from penstock.coordinator.api.views import view_job
from penstock.coordinator.ports.repository import Job, StepTotals, StoredPlan
from penstock.coordinator.ports.scheduler import JobProgress

STEPS = ("resize", "blur", "blur", "encode")


class SchedulerStub:
    """A scheduler that knows positions and service times only."""

    def __init__(self, live: list[tuple[int, int]], rate: float | None = None, **seconds: float) -> None:
        self._live = live
        self._rate = rate
        self._seconds = seconds

    def progress(self, job: str) -> JobProgress:
        return JobProgress(self._live, self._rate)

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        return [self._seconds.get(step) for step in plan.steps]


def job(**changes: Any) -> Job:
    """A running job of four operations."""
    made = Job("j", JobState.RUNNING, StoredPlan([{"op": step} for step in STEPS]), {}, created_at=1.0)
    return replace(made, **changes)


def test_every_image_counts_once_before_in_or_past_each_operation() -> None:
    found = job(total=20, pending=7, queued=4, running=3, done=5, failed=1, steps=[StepTotals(done=6)] * 4)
    steps = view_job(found, SchedulerStub([(2, 1), (1, 0), (0, 2), (1, 0)])).steps
    assert [(step.waiting, step.running, step.done) for step in steps] == [(9, 1, 10), (1, 0, 9), (0, 2, 7), (1, 0, 6)]
    assert all(step.waiting + step.running + step.done <= 20 for step in steps)


def test_the_bottleneck_is_the_step_with_the_most_work_left_in_all_its_operations() -> None:
    found = job(total=10, pending=10)
    assert view_job(found, SchedulerStub([], resize=1.5, blur=1.0)).bottleneck == "blur"
    assert view_job(found, SchedulerStub([], resize=2.5, blur=1.0)).bottleneck == "resize"
    assert view_job(found, SchedulerStub([])).bottleneck is None


@pytest.mark.parametrize(("rate", "eta"), [(None, None), (0.0, None), (4.0, 2.5)])
def test_the_eta_follows_from_the_rate(rate: float | None, eta: float | None) -> None:
    assert view_job(job(total=10, pending=6, queued=3, running=1), SchedulerStub([], rate)).eta_seconds == eta


def test_a_finished_job_shows_its_average_rate_and_no_eta() -> None:
    ended = job(state=JobState.PARTIAL, done=8, failed=2, started_at=10.0, finished_at=14.0)
    progress = view_job(ended, SchedulerStub([], 99.0, blur=1.0))
    assert (progress.images_per_second, progress.eta_seconds, progress.bottleneck) == (2.0, None, None)
    assert view_job(job(state=JobState.CANCELLED, finished_at=14.0), SchedulerStub([])).images_per_second is None

"""Progress: a job's row and what is under way, joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.common.model.jobs import JobState
from penstock.coordinator.api.job_progress import measure
from penstock.coordinator.ports.repository import Job, StepTotals

STEPS = ("resize", "blur", "blur", "encode")


class Speeds:
    """An engine that only knows positions and speeds."""

    def __init__(self, live: list[tuple[int, int]], rate: float | None = None, **seconds: float) -> None:
        self._live = live
        self._rate = rate
        self._seconds = seconds

    def live(self, job: str) -> list[tuple[int, int]]:
        return self._live

    def images_per_second(self, job: str) -> float | None:
        return self._rate

    def seconds_of(self, plan: list[dict[str, Any]]) -> list[float | None]:
        return [self._seconds.get(operation["op"]) for operation in plan]


def job(**changes: Any) -> Job:
    """A running job of four operations."""
    made = Job("j", JobState.RUNNING, [{"op": step} for step in STEPS], {}, created_at=1.0)
    return replace(made, **changes)


def measured(found: Job, engine: Any) -> Any:
    """Its progress."""
    return measure(found, engine)


def test_an_image_counts_once_before_in_and_past_every_operation() -> None:
    found = job(total=20, pending=7, queued=4, running=3, done=5, failed=1, steps=[StepTotals(done=6)] * 4)
    steps = measured(found, Speeds([(2, 1), (1, 0), (0, 2), (1, 0)])).steps
    assert [(step.waiting, step.running, step.done) for step in steps] == [(9, 1, 10), (1, 0, 9), (0, 2, 7), (1, 0, 6)]
    assert all(step.waiting + step.running + step.done <= 20 for step in steps)


def test_the_bottleneck_is_the_step_with_the_most_work_left_over_all_its_operations() -> None:
    found = job(total=10, pending=10)
    assert measured(found, Speeds([], resize=1.5, blur=1.0)).bottleneck == "blur"
    assert measured(found, Speeds([], resize=2.5, blur=1.0)).bottleneck == "resize"
    assert measured(found, Speeds([])).bottleneck is None


@pytest.mark.parametrize(("rate", "eta"), [(None, None), (0.0, None), (4.0, 2.5)])
def test_the_time_left_is_known_once_the_speed_is(rate: float | None, eta: float | None) -> None:
    assert measured(job(total=10, pending=6, queued=3, running=1), Speeds([], rate)).eta_seconds == eta


def test_a_job_that_has_ended_shows_its_average_and_nothing_left() -> None:
    ended = job(state=JobState.PARTIAL, done=8, failed=2, started_at=10.0, finished_at=14.0)
    progress = measured(ended, Speeds([], 99.0, blur=1.0))
    assert (progress.images_per_second, progress.eta_seconds, progress.bottleneck) == (2.0, None, None)
    assert measured(job(state=JobState.CANCELLED, finished_at=14.0), Speeds([])).images_per_second is None

"""Unstored jobs: they end by an event, are counted later, and are stored if they last."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from coordinator_fixture import PLAN, CoordinatorFixture, ManualClock, inject_faults, open_coordinator

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.ports.repository import Image, Job, StoredPlan, Usage
from penstock.coordinator.ports.unstored_jobs import UnstoredJobs

IMAGE = Image(0, "a.jpg", "a", "uploads/u/0", size=9)


def make_job(name: str = "job", owner: str = "delft") -> Job:
    return Job(name, JobState.RECEIVING, StoredPlan(PLAN), {}, created_at=0.0, owner=owner)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[CoordinatorFixture]:
    with open_coordinator(tmp_path) as opened:
        yield opened


@pytest.fixture
def jobs(coordinator: CoordinatorFixture, clock: ManualClock) -> UnstoredJobs:
    return UnstoredJobs(coordinator.repository, clock)


def test_a_job_is_running_until_its_event_and_has_its_results_then(
    jobs: UnstoredJobs, coordinator: CoordinatorFixture
) -> None:
    running = jobs.add(make_job(), IMAGE)
    assert (running.state, running.total, running.queued) == (JobState.RUNNING, 1, 1)
    found = jobs.find("job")
    assert found is not None
    assert (found.state, found.size, jobs.count_open()) == (ImageState.QUEUED, 9, 1)
    other = coordinator.done("other", 0)
    assert jobs.apply([other, coordinator.done("job", 0)]) == ([other], ["job"])
    ended = jobs.find("job")
    assert ended is not None
    assert (ended.state, [result.key for result in ended.results]) == (ImageState.DONE, ["results/job/0-0.jpg"])
    assert jobs.count_open() == 0


def test_a_failed_image_has_its_error_and_a_second_event_changes_nothing(
    jobs: UnstoredJobs, coordinator: CoordinatorFixture
) -> None:
    jobs.add(make_job(), IMAGE)
    assert jobs.apply([coordinator.failed("job", 0), coordinator.done("job", 0)]) == ([], ["job"])
    found = jobs.find("job")
    assert found is not None
    assert (found.state, found.results) == (ImageState.FAILED, [])
    assert found.error == {"code": "internal", "message": "no", "step": "blur", "retry": True}


def test_what_ended_is_counted_once_a_second(
    jobs: UnstoredJobs, coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    repository = coordinator.repository
    for name in ("done", "failed", "left"):
        jobs.add(make_job(name), IMAGE)
    jobs.apply([coordinator.done("done", 0), coordinator.failed("failed", 0)])
    assert jobs.remove("left") == (make_job("left"), False)
    jobs.count()
    assert repository.totals() == {}
    clock.advance(1.0)
    for _ in range(2):
        jobs.count()
        assert repository.totals() == {"done": 1, "internal": 1, "cancelled": 1}
        assert repository.usage("delft", time.time()) == Usage(0, 0, 3)


def test_what_could_not_be_counted_is_counted_later(coordinator: CoordinatorFixture) -> None:
    faults: list[Exception] = [UnavailableError("database", "unreachable")]
    jobs = UnstoredJobs(inject_faults(coordinator.repository, count_unstored=faults))
    jobs.add(make_job(), IMAGE)
    jobs.apply([coordinator.done("job", 0)])
    with pytest.raises(UnavailableError):
        jobs.count(now=True)
    jobs.count(now=True)
    assert coordinator.repository.totals() == {"done": 1}


def test_a_job_that_lasts_is_stored_and_ends_in_the_database(
    jobs: UnstoredJobs, coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    jobs.add(make_job(), IMAGE)
    assert not jobs.is_overdue("job")
    clock.advance(1.0)
    assert jobs.is_overdue("job")
    jobs.store("job", is_dispatched=True)
    assert (coordinator.get_job("job").state, coordinator.get_job("job").queued) == (JobState.RUNNING, 1)
    assert "job" not in jobs
    assert jobs.remove("job") is None
    event = coordinator.done("job", 0)
    assert jobs.apply([event]) == ([event], [])
    coordinator.repository.apply([event])
    assert coordinator.get_job("job").state is JobState.SUCCEEDED
    jobs.count(now=True)
    assert coordinator.repository.totals() == {"done": 1}
    assert coordinator.repository.usage("delft", time.time()).images_today == 1


def test_a_job_that_has_ended_is_not_stored(jobs: UnstoredJobs, coordinator: CoordinatorFixture) -> None:
    jobs.add(make_job(), IMAGE)
    jobs.apply([coordinator.done("job", 0)])
    jobs.store("job", is_dispatched=False)
    assert coordinator.repository.count_jobs() == {}
    assert jobs.remove("job") == (make_job(), True)
    assert jobs.find("job") is None

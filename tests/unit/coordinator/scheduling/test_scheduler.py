"""Scheduler: recovery after a crash, what cancel, retry and delete leave behind, and the status of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from coordinator_fixture import CoordinatorFixture, inject_faults
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import EVENTS_QUEUE, Event, Outcome, StepTime, step_queue
from penstock.common.store.base import Store
from penstock.common.store.keys import cancellation_key, work_key
from penstock.coordinator.ports.repository import ConflictError, JobNotFoundError
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.scheduler import JobScheduler

StartLeader = Callable[..., JobScheduler]


@pytest.fixture
def start_leader(coordinator: CoordinatorFixture) -> Iterator[StartLeader]:
    """Starts a scheduler that leads."""
    started: list[JobScheduler] = []

    def start(store: Store | None = None) -> JobScheduler:
        scheduler = coordinator.make_scheduler(DispatchSettings(workers=2, processes=2), store=store)
        scheduler.start_leading()
        started.append(scheduler)
        return scheduler

    yield start
    for scheduler in started:
        scheduler.stop_leading()


def test_recovery_requeues_images_in_flight_and_deletes_orphans(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("open", 3, upload="u1")
    coordinator.repository.take_pending("open", 2)
    coordinator.finish_job("good", upload="u2")
    coordinator.finish_job("bad", failed=True)
    kept = coordinator.put(
        "results/open/0-0.jpg", "results/good/0-0.jpg", "resume/bad/0-0", "plans/open.json", "uploads/u1/0",
        "uploads/u2/0",
    )  # fmt: skip
    coordinator.put(
        work_key("open", "0-c", 1), "results/deleted/0-0.jpg", "resume/good/0-0", "resume/deleted/0-0",
        "cancelled/deleted", "plans/deleted.json", "uploads/u3/0",
    )  # fmt: skip
    coordinator.make_scheduler().recover()
    assert coordinator.stored_keys() == kept
    assert (coordinator.get_job("open").pending, coordinator.get_job("open").queued) == (3, 0)


def test_recovery_deletes_a_cancellation_marker_whose_cancel_was_not_committed(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 1)
    coordinator.put(cancellation_key("a"))
    coordinator.make_scheduler().recover()
    assert coordinator.store.size(cancellation_key("a")) is None


def test_cancel_ends_the_job_and_deletes_its_intermediates(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 3)
    coordinator.put(work_key("a", "0-c", 1), "resume/a/0-1")
    scheduler = coordinator.make_scheduler()
    assert scheduler.cancel("a").state == JobState.CANCELLED
    assert coordinator.stored_keys() == {cancellation_key("a")}
    assert scheduler.cancel("a").state == JobState.CANCELLED, "cancelling twice is no error"


def test_a_job_that_cannot_be_cancelled_gets_no_marker(coordinator: CoordinatorFixture) -> None:
    coordinator.finish_job("a")
    scheduler = coordinator.make_scheduler()
    with pytest.raises(ConflictError):
        scheduler.cancel("a")
    with pytest.raises(JobNotFoundError):
        scheduler.cancel("unknown")
    assert cancellation_key("a") not in coordinator.stored_keys()


def test_a_cancel_that_fails_in_the_database_leaves_no_marker(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 1)
    errors: list[Exception] = [UnavailableError("database", "unreachable")]
    repository = inject_faults(coordinator.repository, cancel_job=errors)
    with pytest.raises(UnavailableError):
        coordinator.make_scheduler(repository=repository).cancel("a")
    assert coordinator.stored_keys() == set(), "workers would skip a job that is still open"


def test_a_cancel_succeeds_although_the_store_is_unreachable(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 1)
    unavailable = UnavailableError("store", "unreachable")
    store = inject_faults(coordinator.store, put=[unavailable], delete_prefix=[unavailable])
    assert coordinator.make_scheduler(store=store).cancel("a").state == JobState.CANCELLED


def test_late_results_of_a_cancelled_job_are_deleted(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    coordinator.accept_job("a", 2)
    scheduler.wake()
    wait_until(lambda: coordinator.get_job("a").queued == 2)
    scheduler.cancel("a")
    coordinator.send_event(coordinator.done("a", 0))
    wait_until(lambda: coordinator.stored_keys() == {cancellation_key("a")})
    assert coordinator.get_job("a").done == 0


def test_the_first_failure_cancels_a_job_that_asks_for_it(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    coordinator.accept_job("a", 5, on_failure="cancel")
    scheduler.wake()
    wait_until(lambda: coordinator.get_job("a").queued == 5)
    coordinator.send_event(coordinator.failed("a", 3))
    wait_until(lambda: coordinator.get_job("a").state == JobState.CANCELLED)
    assert (coordinator.get_job("a").failed, coordinator.get_job("a").cancelled) == (1, 4)


def test_a_finished_job_leaves_only_its_results(coordinator: CoordinatorFixture, start_leader: StartLeader) -> None:
    scheduler = start_leader()
    coordinator.accept_job("a", 1)
    scheduler.wake()
    wait_until(lambda: coordinator.get_job("a").queued == 1)
    coordinator.put(work_key("a", "0-c", 1), "resume/a/0-0")
    coordinator.send_event(coordinator.done("a", 0))
    wait_until(lambda: coordinator.stored_keys() == {"results/a/0-0.jpg"})
    assert scheduler.progress("a").positions == []


def test_a_store_that_is_unreachable_when_a_job_ends_does_not_stop_the_next_job(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    errors: list[Exception] = [UnavailableError("store", "unreachable")] * 2
    scheduler = start_leader(inject_faults(coordinator.store, delete_prefix=errors))
    for name in ("a", "b", "c"):
        coordinator.accept_job(name, 1)
        scheduler.wake()
        wait_until(lambda name=name: coordinator.get_job(name).queued == 1)
        coordinator.send_event(coordinator.done(name, 0))
        wait_until(lambda name=name: coordinator.get_job(name).state == JobState.SUCCEEDED)
        wait_until(lambda name=name: scheduler.progress(name).positions == [])


def test_delete_keeps_an_upload_that_another_job_reads(coordinator: CoordinatorFixture) -> None:
    coordinator.finish_job("a", upload="u")
    coordinator.finish_job("b", upload="u")
    coordinator.put("uploads/u/0", "resume/a/0-0", "plans/a.json", work_key("a", "0-c", 1))
    scheduler = coordinator.make_scheduler()
    scheduler.delete("a")
    assert coordinator.stored_keys() == {"uploads/u/0", "results/b/0-0.jpg"}
    scheduler.delete("b")
    assert coordinator.stored_keys() == set()


def test_a_cancelled_job_keeps_its_marker_when_it_is_deleted(coordinator: CoordinatorFixture) -> None:
    """Its chunks may still be queued, and their results would never be deleted."""
    coordinator.accept_job("a", 1)
    scheduler = coordinator.make_scheduler()
    scheduler.cancel("a")
    scheduler.delete("a")
    assert coordinator.stored_keys() == {cancellation_key("a")}
    scheduler.recover()
    assert coordinator.stored_keys() == set()


def test_a_retry_is_dispatched(coordinator: CoordinatorFixture, start_leader: StartLeader) -> None:
    coordinator.finish_job("a", failed=True)
    job, count = start_leader().retry("a", None)
    assert (job.run, count) == (1, 1)
    wait_until(lambda: coordinator.get_job("a").queued == 1)


def test_the_status_of_steps_has_what_remains_for_them(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    for step in ("resize", "blur", "blur", "encode"):
        coordinator.broker.consume([step_queue(step)], 1)
    coordinator.accept_job("a", 100, chunk_size=1)
    scheduler.wake()
    wait_until(lambda: coordinator.get_job("a").queued == 8)
    times = [StepTime(step=0, wait=0.0, work=0.1), StepTime(step=1, wait=0.0, work=0.4)]
    outcomes = [Outcome(id=0, state="done", timings=times)]
    coordinator.send_event(Event(kind="stepped", job="a", chunk="c", step=1, images=[1, 2]))
    coordinator.send_event(Event(kind="finished", job="a", chunk="c", outcomes=outcomes))
    wait_until(lambda: coordinator.get_job("a").done == 1)
    steps = {status.name: status for status in scheduler.steps()}
    assert steps["resize"].remaining == 97
    assert steps["blur"].remaining == 99
    assert (steps["blur"].workers, steps["blur"].backlog_seconds) == (2, pytest.approx(99 * 0.4))
    assert (steps["split"].remaining, steps["split"].backlog_seconds) == (0, None)
    assert steps["resize"].ready >= 7
    assert steps["resize"].shared_with == ("blur",)
    assert scheduler.progress("a").images_per_second > 0
    assert scheduler.service_times(coordinator.get_job("a").plan) == [0.1, 0.4, None]


def test_a_coordinator_that_does_not_lead_tells_the_leader_of_work(coordinator: CoordinatorFixture) -> None:
    leader = coordinator.make_scheduler(DispatchSettings(poll_secs=3_600.0))
    leader.start_leading()
    try:
        wait_until(lambda: coordinator.broker.depth(EVENTS_QUEUE).consumers == 1)
        coordinator.accept_job("a", 1)
        coordinator.make_scheduler().wake()
        wait_until(lambda: coordinator.get_job("a").queued == 1)
    finally:
        leader.stop_leading()

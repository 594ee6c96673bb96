"""Scheduler: recovery after a crash, what cancel, retry and delete leave behind, and the status of steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from coordinator_fixture import PLAN, CoordinatorFixture, inject_faults, open_coordinator
from small_disk import Mount, fill
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import EVENTS_QUEUE, Event, Outcome, StepTime, step_queue
from penstock.common.store.base import Store
from penstock.common.store.keys import cancellation_key, work_key
from penstock.common.store.local import LocalStore
from penstock.coordinator.ports.repository import (
    ALL_OWNERS,
    DEADLINE,
    TRANSIENT,
    ConflictError,
    Image,
    Job,
    JobNotFoundError,
    StoredPlan,
)
from penstock.coordinator.ports.scheduler import Outlook
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


def test_a_small_job_is_dispatched_at_once_while_nothing_waits(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    pass_a_round(coordinator, scheduler)
    created = scheduler.create_small(small_job(), IMAGES)
    assert (created.state, created.queued) == (JobState.RUNNING, 1)
    assert coordinator.take_chunks() == []
    scheduler.start_small(created, IMAGES)
    [chunk] = coordinator.take_chunks()
    assert (chunk.job, chunk.images[0].ref) == (created.id, "uploads/u/0")
    assert scheduler.progress(created.id).positions[0] == (1, 0)


def test_a_small_job_waits_for_its_turn_without_a_leader_or_with_images_that_have_failed(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    assert coordinator.make_scheduler().create_small(small_job("led by none"), IMAGES).state is JobState.ACCEPTED
    scheduler = start_leader()
    pass_a_round(coordinator, scheduler)
    error = {"code": "internal", "message": "no", "step": "", "retry": False}
    failed = replace(IMAGES[0], id=1, name="1", stem="1", state=ImageState.FAILED, error=error)
    created = scheduler.create_small(small_job(), [*IMAGES, failed])
    assert (created.state, created.pending, created.failed) == (JobState.ACCEPTED, 1, 1)
    scheduler.start_small(created, [*IMAGES, failed])
    wait_until(lambda: coordinator.get_job(created.id).queued == 1)


def test_a_small_job_is_dispatched_later_if_the_broker_is_unreachable(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    faults: list[Exception] = []
    coordinator.broker = inject_faults(coordinator.broker, publish=faults)
    scheduler = start_leader()
    pass_a_round(coordinator, scheduler)
    created = scheduler.create_small(small_job(), IMAGES)
    faults.append(UnavailableError("broker", "unreachable"))
    scheduler.start_small(created, IMAGES)
    assert coordinator.take_chunks() == []
    scheduler.wake()
    wait_until(lambda: [chunk.job for chunk in coordinator.take_chunks()] == [created.id])


def create_unstored(coordinator: CoordinatorFixture, scheduler: JobScheduler) -> Job:
    """Create a transient job, with workers for its steps."""
    for step in ("blur", "encode"):
        coordinator.broker.consume([step_queue(step)], 1)
    pass_a_round(coordinator, scheduler)
    coordinator.put("uploads/u/0")
    return scheduler.create_small(replace(small_job(), document={TRANSIENT: True}, upload="u"), IMAGES)


def start_unstored(coordinator: CoordinatorFixture, scheduler: JobScheduler) -> Job:
    """Create and start a transient job, and take its chunk."""
    job = create_unstored(coordinator, scheduler)
    scheduler.start_small(job, IMAGES)
    assert [chunk.job for chunk in coordinator.take_chunks()] == [job.id]
    return job


def test_a_transient_job_is_not_stored_and_leaves_nothing(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    job = start_unstored(coordinator, scheduler)
    assert (job.state, scheduler.count_unstored()) == (JobState.RUNNING, 1)
    assert scheduler.progress(job.id).positions[0] == (1, 0)
    coordinator.send_event(coordinator.done(job.id, 0))
    wait_until(lambda: is_done(scheduler, job.id))
    assert scheduler.count_unstored() == 0
    assert coordinator.repository.get_job(job.id, ALL_OWNERS) is None
    assert scheduler.delete_ended([job.id]) == {job.id}
    assert coordinator.stored_keys() == {"results/first/0-0.jpg"}
    scheduler.stop_leading()
    assert coordinator.repository.totals() == {"done": 2}


def test_a_transient_job_whose_request_gives_up_is_cancelled(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    job = start_unstored(coordinator, scheduler)
    assert scheduler.delete_ended([job.id]) == {job.id}
    assert coordinator.stored_keys() == {"results/first/0-0.jpg", cancellation_key(job.id)}
    assert scheduler.progress(job.id).positions == []
    assert scheduler.delete_ended([job.id]) == set()


def test_a_transient_job_that_outlives_its_request_is_stored(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    job = start_unstored(coordinator, scheduler)
    scheduler.store_small(job.id)
    scheduler.store_small(job.id)
    assert coordinator.get_job(job.id).queued == 1
    coordinator.send_event(coordinator.done(job.id, 0))
    wait_until(lambda: coordinator.get_job(job.id).state is JobState.SUCCEEDED)
    assert is_done(scheduler, job.id)


def test_a_transient_job_is_left_to_the_next_leader(coordinator: CoordinatorFixture, start_leader: StartLeader) -> None:
    scheduler = start_leader()
    job = start_unstored(coordinator, scheduler)
    scheduler.stop_leading()
    found = scheduler.find_small(job.id)
    assert found is not None
    assert found.state is ImageState.PENDING
    start_leader()
    wait_until(lambda: [chunk.job for chunk in coordinator.take_chunks()] == [job.id])


def test_a_transient_job_is_stored_if_the_broker_is_unreachable(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    faults: list[Exception] = []
    coordinator.broker = inject_faults(coordinator.broker, publish=faults)
    scheduler = start_leader()
    job = create_unstored(coordinator, scheduler)
    faults.append(UnavailableError("broker", "unreachable"))
    scheduler.start_small(job, IMAGES)
    wait_until(lambda: [chunk.job for chunk in coordinator.take_chunks()] == [job.id])


def test_a_transient_job_that_can_neither_start_nor_be_stored_is_forgotten(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    publish: list[Exception] = []
    create: list[Exception] = []
    coordinator.broker = inject_faults(coordinator.broker, publish=publish)
    coordinator.repository = inject_faults(coordinator.repository, create_accepted=create)
    scheduler = start_leader()
    job = create_unstored(coordinator, scheduler)
    publish.append(UnavailableError("broker", "unreachable"))
    create.append(UnavailableError("database", "no row"))
    with pytest.raises(UnavailableError, match="no row"):
        scheduler.start_small(job, IMAGES)
    assert scheduler.count_unstored() == 0
    assert "uploads/u/0" not in coordinator.stored_keys()


def test_a_transient_job_is_stored_if_a_step_has_no_workers(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    """It may wait for an autoscaler, which reads what is stored."""
    scheduler = start_leader()
    pass_a_round(coordinator, scheduler)
    job = replace(small_job(), document={TRANSIENT: True})
    assert scheduler.create_small(job, IMAGES).queued == 1
    assert coordinator.get_job(job.id).queued == 1


def is_done(scheduler: JobScheduler, job: str) -> bool:
    image = scheduler.find_small(job)
    return image is not None and image.state is ImageState.DONE


IMAGES = [Image(0, "0.jpg", "0", "uploads/u/0")]


def small_job(name: str = "small") -> Job:
    return Job(name, JobState.RECEIVING, StoredPlan(PLAN), {}, created_at=0.0)


def pass_a_round(coordinator: CoordinatorFixture, scheduler: JobScheduler) -> None:
    """Wait until the dispatcher has found that nothing waits."""
    coordinator.accept_job("first", 1)
    scheduler.wake()
    wait_until(lambda: "first" in [chunk.job for chunk in coordinator.take_chunks()])
    coordinator.send_event(coordinator.done("first", 0))
    wait_until(lambda: coordinator.get_job("first").state is JobState.SUCCEEDED)


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


def test_a_step_whose_workers_wait_shows_them_and_why(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    scheduler = start_leader()
    coordinator.broker.consume([step_queue("blur")], 1)
    coordinator.accept_job("a", 1)
    scheduler.wake()
    wait_until(lambda: coordinator.get_job("a").queued == 1)
    full = "store full (12 kB free)"
    for worker in ("v", "w"):
        steps = ("blur", "resize")
        coordinator.send_event(Event(kind="started", job="", chunk="", worker=worker, waiting_for=full, steps=steps))
    wait_until(lambda: scheduler.progress("a").waiting_for == full)
    shown = {step.name: (step.workers, step.waiting_workers, step.waiting_for) for step in scheduler.steps()}
    assert shown["resize"] == (2, 2, full)
    assert shown["blur"] == (3, 2, full)
    assert shown["encode"] == (0, 0, None)
    assert scheduler.backlog(["resize"]).workers == 2
    assert scheduler.forecast(coordinator.get_job("a")).eta_secs is None


def test_workers_that_a_blocked_broker_keeps_from_working_are_shown(
    coordinator: CoordinatorFixture, start_leader: StartLeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        raise UnavailableError("broker", "no messages can be published", waiting_for="broker blocked (low on disk)")

    scheduler = start_leader()
    consumer = coordinator.broker.consume([step_queue("blur")], 1)

    def shown() -> tuple[int, int, str | None]:
        return next(
            (each.workers, each.waiting_workers, each.waiting_for) for each in scheduler.steps() if each.name == "blur"
        )

    assert shown() == (1, 0, None)
    monkeypatch.setattr(coordinator.broker, "check", check)
    consumer.close()
    assert shown() == (1, 1, "broker blocked (low on disk)")
    monkeypatch.undo()
    assert shown() == (0, 0, None)


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


def test_a_full_database_is_waited_for_and_named(tmp_path: Path, disk: Mount, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = disk("size=6m")
    with open_coordinator(folder) as coordinator:
        coordinator.store = LocalStore(tmp_path / "store")
        scheduler = coordinator.make_scheduler(DispatchSettings(poll_secs=0.01))
        coordinator.accept_job("a", 3_000, chunk_size=1)
        ended = coordinator.done("a", *range(3_000))
        fill(folder / "full")
        scheduler.start_leading()
        try:
            coordinator.send_event(ended)
            full = "database full (0 B free)"
            wait_until(lambda: scheduler.progress("a").waiting_for == full)
            assert scheduler.progress("another").waiting_for == full
            (folder / "full").unlink()
            wait_until(lambda: coordinator.get_job("a").state == JobState.SUCCEEDED)
            wait_until(lambda: scheduler.progress("a").waiting_for is None)
        finally:
            scheduler.stop_leading()
    begin, end = [line for line in caplog.messages if "database" in line]
    assert begin == "the coordinator is waiting for the database: the database is full (0 B free)"
    assert end.startswith("the database can be used again after ")


def test_deadlines_decide_how_many_workers_are_wanted(
    coordinator: CoordinatorFixture, start_leader: StartLeader
) -> None:
    """Without them, it is one for each ten seconds of work; an image of an unmeasured step counts as a second."""
    scheduler = start_leader()
    coordinator.accept_job("free", 100)
    assert scheduler.backlog(["blur"]).wanted_workers == 10
    assert scheduler.backlog(["blur"], 50.0).wanted_workers == 2
    coordinator.accept_job("due", 1_000, document={DEADLINE: time.time() + 3_600})
    assert scheduler.backlog(["blur"]).wanted_workers == 11
    wanted = {step.name: (step.wanted_workers, step.deadline_workers) for step in scheduler.steps()}
    assert (wanted["resize"], wanted["blur"], wanted["split"]) == ((11, 1), (11, 1), (0, 0))
    assert scheduler.forecast(coordinator.get_job("due")).outlook == Outlook(), "nothing is measured"
    assert scheduler.forecast(coordinator.get_job("free")).outlook is None

"""Reconciler and garbage collector: lost images are requeued, others are not, and orphaned objects are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from coordinator_fixture import PLAN, CoordinatorFixture, ManualClock, inject_faults, open_coordinator
from queues import empty_queue
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import EVENTS_QUEUE, Event, Failure, Outcome, StepTime, step_queue
from penstock.common.store.keys import cancellation_key, work_key
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.ports.repository import ALL_OWNERS, Image, Job, StoredPlan
from penstock.coordinator.ports.unstored_jobs import UnstoredJobs
from penstock.coordinator.scheduling.garbage_collector import GarbageCollector
from penstock.coordinator.scheduling.reconciler import Reconciler, ReconcilerSettings
from penstock.coordinator.scheduling.snapshot import Snapshot

SETTINGS = ReconcilerSettings(repair_secs=30.0, step_timeout_secs=60.0, max_chunk=8)
FAILURE = Failure(code="source_not_found", message="no", step="resize", retry=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def coordinator(tmp_path: Path, clock: ManualClock) -> Iterator[CoordinatorFixture]:
    """A coordinator whose time passes when a test lets it."""
    with open_coordinator(tmp_path, clock) as opened:
        yield opened


def make_reconciler(
    coordinator: CoordinatorFixture, settings: ReconcilerSettings = SETTINGS, unstored_jobs: UnstoredJobs | None = None
) -> Reconciler:
    return Reconciler(
        coordinator.repository,
        coordinator.store,
        coordinator.broker,
        coordinator.in_flight,
        settings,
        lambda: None,
        coordinator.clock,
        unstored_jobs=unstored_jobs,
    )


def started(job: str, *images: int, step: int = 0, worker: str = "w") -> Event:
    return Event(kind="started", job=job, chunk=f"c{images[0]}", step=step, images=list(images), worker=worker)


def measure_all_steps(coordinator: CoordinatorFixture, secs: float) -> None:
    """Record that each step of the plan took `secs` per image."""
    coordinator.in_flight.add_dispatched(coordinator.accept_job("measured", 1), [(0, 0)])
    timings = [StepTime(step=step, wait=0.0, work=secs) for step in range(3)]
    outcome = Outcome(id=0, state="done", timings=timings)
    coordinator.in_flight.apply([Event(kind="finished", job="measured", chunk="c", outcomes=[outcome])])
    coordinator.repository.cancel_job("measured")
    coordinator.in_flight.remove_job("measured", 0)


def test_images_of_a_purged_queue_are_requeued(coordinator: CoordinatorFixture, clock: ManualClock) -> None:
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 4, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    empty_queue(coordinator.broker, step_queue("resize"))
    reconciler = make_reconciler(coordinator)
    assert reconciler.requeue_lost() == 0, "an event may still come"
    clock.advance(31.0)
    assert reconciler.requeue_lost() == 4
    assert (coordinator.get_job("a").pending, coordinator.in_flight.count("a")) == (4, 0)
    coordinator.make_dispatcher().dispatch_round()
    assert sorted(chunk.images[0].id for chunk in coordinator.take_chunks()) == [0, 1, 2, 3]


def test_images_whose_messages_wait_are_not_lost_however_long_they_wait(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    coordinator.accept_job("a", 4, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    clock.advance(100_000.0)
    assert make_reconciler(coordinator).requeue_lost() == 0


def test_images_that_waited_for_a_first_worker_are_not_lost_once_it_holds_them(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 2, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    reconciler = make_reconciler(coordinator)
    clock.advance(1_000.0)
    assert reconciler.requeue_lost() == 0
    coordinator.take_chunks()  # a worker took both and has started neither
    clock.advance(20.0)
    assert reconciler.requeue_lost() == 0
    clock.advance(20.0)
    assert reconciler.requeue_lost() == 2, "by now it would have started"


def test_an_image_overtaken_while_a_step_had_no_worker_gets_its_full_timeout(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    measure_all_steps(coordinator, 0.01)
    reconciler = make_reconciler(coordinator)
    for name in ("first", "second"):
        coordinator.accept_job(name, 1)
        coordinator.make_dispatcher().dispatch_round()
        clock.advance(50.0)
    assert reconciler.requeue_lost() == 0
    consumers = [coordinator.broker.consume([step_queue("resize")], 1) for _ in range(2)]
    coordinator.in_flight.apply([started("second", 0)])
    assert reconciler.requeue_lost() == 0
    clock.advance(31.0)
    assert reconciler.requeue_lost() == 1
    assert len(consumers) == 2
    assert coordinator.get_job("first").pending == 1


def test_an_image_overtaken_by_later_ones_is_requeued_although_its_queue_is_not_empty(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("lost", 1)
    coordinator.make_dispatcher().dispatch_round()
    empty_queue(coordinator.broker, step_queue("resize"))
    clock.advance(50.0)
    coordinator.broker.consume([step_queue("resize")], 1)
    coordinator.accept_job("busy", 3, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    reconciler = make_reconciler(coordinator)
    assert reconciler.requeue_lost() == 0, "nothing dispatched after it has been started"
    coordinator.in_flight.apply([started("busy", 0)])
    assert reconciler.requeue_lost() == 1
    assert coordinator.get_job("lost").pending == 1


def test_a_running_image_has_the_time_limit_of_its_step(coordinator: CoordinatorFixture, clock: ManualClock) -> None:
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 1)
    coordinator.make_dispatcher().dispatch_round()
    coordinator.take_chunks()
    coordinator.in_flight.apply([started("a", 0)])
    reconciler = make_reconciler(coordinator)
    clock.advance(80.0)
    assert reconciler.requeue_lost() == 0
    clock.advance(20.0)
    assert reconciler.requeue_lost() == 1


def test_the_time_of_an_outage_does_not_make_images_lost(coordinator: CoordinatorFixture, clock: ManualClock) -> None:
    """Some are back in the queue; the worker's report of others was lost."""
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 3, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    consumer = coordinator.broker.consume([step_queue("resize")], 2)
    consumer.get(1.0)
    coordinator.in_flight.apply([started("a", 0, 1)])
    consumer.close()
    reconciler = make_reconciler(coordinator)
    waits = Event(kind="started", job="", chunk="", worker="w", waiting_for="store full", steps=("resize", "blur"))
    for _ in range(100):
        coordinator.in_flight.apply([waits])
        clock.advance(50.0)
        assert reconciler.requeue_lost() == 0
    coordinator.in_flight.apply([waits.model_copy(update={"waiting_for": None})])
    empty_queue(coordinator.broker, step_queue("resize"))
    coordinator.broker.consume([step_queue("resize")], 2)
    clock.advance(20.0)
    assert reconciler.requeue_lost() == 0
    clock.advance(80.0)
    assert reconciler.requeue_lost() == 3, "from then on, the usual time limits count"


def test_an_image_that_runs_is_not_lost_while_its_step_has_no_consumer(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    """As when all workers wait for a broker that takes no messages, not even about that."""
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 1)
    coordinator.make_dispatcher().dispatch_round()
    empty_queue(coordinator.broker, step_queue("resize"))
    coordinator.in_flight.apply([started("a", 0)])
    reconciler = make_reconciler(coordinator)
    for _ in range(10):
        clock.advance(500.0)
        assert reconciler.requeue_lost() == 0
    coordinator.broker.consume([step_queue("resize")], 1)
    clock.advance(100.0)
    assert reconciler.requeue_lost() == 1


@pytest.mark.parametrize("call", ["depth", "check"])
def test_the_time_without_a_broker_does_not_make_images_lost(
    coordinator: CoordinatorFixture, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 1)
    coordinator.make_dispatcher().dispatch_round()
    coordinator.take_chunks()
    coordinator.in_flight.apply([started("a", 0)])
    reconciler = make_reconciler(coordinator)
    clock.advance(80.0)
    away = inject_faults(coordinator.broker, **{call: [UnavailableError("broker", "unreachable")]})
    monkeypatch.setattr(reconciler, "_broker", away)
    with pytest.raises(UnavailableError):
        reconciler.requeue_lost()
    clock.advance(20.0)
    assert reconciler.requeue_lost() == 0
    clock.advance(80.0)
    assert reconciler.requeue_lost() == 1


def test_images_of_slow_steps_get_time_for_the_chunks_that_workers_hold(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    measure_all_steps(coordinator, 10.0)
    coordinator.accept_job("a", 2, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    empty_queue(coordinator.broker, step_queue("resize"))
    reconciler = make_reconciler(coordinator)
    clock.advance(60.0)
    assert reconciler.requeue_lost() == 0, "3 chunks of 30 s may come first"
    clock.advance(70.0)
    assert reconciler.requeue_lost() == 2


def test_nothing_is_requeued_while_events_wait_to_be_applied(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 1)
    coordinator.make_dispatcher().dispatch_round()
    empty_queue(coordinator.broker, step_queue("resize"))
    coordinator.send_event(coordinator.done("a", 0))
    clock.advance(1_000.0)
    reconciler = make_reconciler(coordinator)
    assert reconciler.requeue_lost() == 0
    empty_queue(coordinator.broker, EVENTS_QUEUE)
    assert reconciler.requeue_lost() == 1


def test_the_timeout_doubles_each_time_an_image_is_requeued(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    measure_all_steps(coordinator, 0.0)
    coordinator.accept_job("a", 1)
    reconciler = make_reconciler(coordinator)
    for patience in (30.0, 60.0, 120.0):
        coordinator.make_dispatcher().dispatch_round()
        empty_queue(coordinator.broker, step_queue("resize"))
        clock.advance(patience - 1.0)
        assert reconciler.requeue_lost() == 0
        clock.advance(2.0)
        assert reconciler.requeue_lost() == 1


def test_images_taken_but_never_published_are_requeued(coordinator: CoordinatorFixture, clock: ManualClock) -> None:
    """As when the response to a commit got lost, or the coordinator crashed between taking and publishing."""
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 3)
    coordinator.repository.take_pending("a", 2)
    reconciler = make_reconciler(coordinator)
    assert reconciler.requeue_lost() == reconciler.requeue_lost() == 0
    assert coordinator.in_flight.count("a") == 2
    clock.advance(31.0)
    assert reconciler.requeue_lost() == 2
    assert coordinator.get_job("a").pending == 3


def test_images_whose_end_is_not_committed_yet_are_not_adopted(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 100, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    sent = [image.id for chunk in coordinator.take_chunks() for image in chunk.images]
    outcomes = [Outcome(id=image, state="failed", error=FAILURE) for image in sent]
    ended = [Event(kind="finished", job="a", chunk="c", outcomes=outcomes)]
    reconciler = make_reconciler(coordinator)
    reconciler.requeue_lost()
    coordinator.in_flight.apply(ended)
    reconciler.requeue_lost()  # the tracker has not committed them yet
    coordinator.repository.apply(ended)
    reconciler.requeue_lost()
    assert coordinator.in_flight.count("a") == 0
    coordinator.make_dispatcher().dispatch_round()
    assert len(coordinator.take_chunks()) == len(sent)


def test_jobs_that_another_coordinator_ended_are_removed(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 2)
    coordinator.make_dispatcher().dispatch_round()
    coordinator.repository.cancel_job("a")
    make_reconciler(coordinator).requeue_lost()
    assert coordinator.in_flight.job_runs() == []


def test_the_status_for_followers_is_the_snapshot(coordinator: CoordinatorFixture) -> None:
    measure_all_steps(coordinator, 0.01)
    coordinator.accept_job("a", 4, chunk_size=1)
    coordinator.make_dispatcher().dispatch_round()
    coordinator.in_flight.apply([started("a", 0), started("a", 1, 2, step=1)])
    make_reconciler(coordinator).publish_status()
    status = coordinator.repository.get_status()
    assert status is not None
    snapshot = Snapshot.from_json(status[1])
    assert snapshot == coordinator.in_flight.snapshot()
    assert snapshot.job("a").positions == [(1, 1), (0, 2), (0, 0)]
    assert snapshot.running_chunks == {"resize": 1, "blur": 1}


def test_garbage_collection_deletes_orphans_and_nothing_of_open_jobs(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("open", 1)
    coordinator.accept_job("over", 1)
    coordinator.repository.cancel_job("over")
    kept = coordinator.put(work_key("open", "0-c", 1), "resume/open/0-0", "results/open/0-0.jpg", "plans/open.json")
    coordinator.put(work_key("over", "0-c", 1), work_key("gone", "0-c", 1), "resume/over/0-0")
    coordinator.put("results/gone/0-0.jpg", "plans/gone.json")
    GarbageCollector(coordinator.repository, coordinator.store, abandoned_secs=60.0).collect()
    assert coordinator.stored_keys() == kept


def test_neither_collection_nor_repair_touches_a_job_that_is_not_stored(coordinator: CoordinatorFixture) -> None:
    job = Job("short", JobState.RECEIVING, StoredPlan(PLAN), {}, created_at=0.0)
    jobs = UnstoredJobs(coordinator.repository)
    coordinator.in_flight.add_dispatched(jobs.add(job, Image(0, "a.jpg", "a", "uploads/u/0")), [(0, 0)])
    kept = coordinator.put(work_key("short", "0-c", 1), "results/short/0-0.jpg", "plans/short.json", "resume/short/0-0")
    reconciler = make_reconciler(coordinator, unstored_jobs=jobs)
    collector = GarbageCollector(coordinator.repository, coordinator.store, 60.0, unstored_jobs=jobs)
    reconciler.requeue_lost()
    collector.collect()
    assert (coordinator.in_flight.count("short"), coordinator.stored_keys()) == (1, kept)
    jobs.remove("short")
    reconciler.requeue_lost()
    assert coordinator.in_flight.count("short") == 0
    GarbageCollector(coordinator.repository, coordinator.store, 60.0, unstored_jobs=jobs).collect()
    assert coordinator.stored_keys() == set()


def test_an_expired_job_is_deleted_with_its_objects_even_if_that_was_interrupted(
    coordinator: CoordinatorFixture,
) -> None:
    for job in ("first", "second"):
        coordinator.finish_job(job, upload=f"of-{job}", expire_after_secs=1e-9)
        coordinator.put(f"uploads/of-{job}/0", f"results/{job}/.thumbnails/0.jpg", f"plans/{job}.json")
    coordinator.finish_job("kept", upload="of-kept", expire_after_secs=3_600.0)
    kept = {key for key in coordinator.stored_keys() if "kept" in key} | coordinator.put("uploads/of-kept/0")
    coordinator.repository.expire_job(2e9)  # a coordinator that was killed before it deleted the objects
    GarbageCollector(coordinator.repository, coordinator.store, abandoned_secs=60.0).collect()
    assert coordinator.stored_keys() == kept
    assert [job.id for job in coordinator.repository.list_jobs(ALL_OWNERS, limit=9)] == ["kept"]


def test_garbage_collection_keeps_what_may_still_be_needed_until_it_is_old(coordinator: CoordinatorFixture) -> None:
    upload, cancelled = new_id(), new_id()
    coordinator.accept_job(cancelled, 1)
    coordinator.repository.cancel_job(cancelled)
    kept = coordinator.put(f"uploads/{upload}/0", cancellation_key(cancelled))
    GarbageCollector(coordinator.repository, coordinator.store, abandoned_secs=60.0).collect()
    assert coordinator.stored_keys() == kept
    GarbageCollector(coordinator.repository, coordinator.store, abandoned_secs=0.0).collect()
    assert coordinator.stored_keys() == set()


def test_the_thread_requeues_collects_garbage_and_publishes_the_status(
    coordinator: CoordinatorFixture, clock: ManualClock
) -> None:
    settings = ReconcilerSettings(
        repair_secs=0.05, step_timeout_secs=0.05, sweep_secs=0.05, abandoned_secs=60.0, publishes_status=True
    )
    coordinator.put(work_key("gone", "0-c", 1))
    coordinator.accept_job("a", 1)
    coordinator.repository.take_pending("a", 1)
    reconciler = make_reconciler(coordinator, settings)
    reconciler.start()
    try:
        for condition in (
            lambda: coordinator.get_job("a").pending == 1,
            lambda: not coordinator.stored_keys(),
            lambda: coordinator.repository.get_status() is not None,
        ):
            wait_until(lambda condition=condition: clock.advance(1.0) or condition())
    finally:
        reconciler.stop()
    assert coordinator.get_job("a").state == JobState.RUNNING

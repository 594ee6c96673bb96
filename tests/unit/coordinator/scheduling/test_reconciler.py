"""The housekeeper: what nobody has any more is sent again, what somebody has is not, and what nobody needs goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from queues import empty_queue

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import EVENTS_QUEUE, Event, Failure, Outcome, StepTime, step_queue
from penstock.common.store.keys import cancellation_key, work_key
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.garbage_collector import GarbageCollector
from penstock.coordinator.scheduling.leader_status import Snapshot
from penstock.coordinator.scheduling.reconciler import Reconciler, ReconcilerSettings

SETTINGS = ReconcilerSettings(repair_secs=30.0, step_timeout_secs=60.0, max_chunk=8)
FAILURE = Failure(code="source_not_found", message="no", step="resize", retry=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass for the housekeeper and what it looks at."""
    now = [1_000.0]
    for module in ("reconciler", "in_flight"):
        monkeypatch.setattr(f"penstock.coordinator.scheduling.{module}.time.monotonic", lambda: now[0])

    def passes(secs: float) -> None:
        now[0] += secs

    return passes


def keeper_of(house: Any, settings: ReconcilerSettings = SETTINGS) -> Reconciler:
    return Reconciler(house.repository, house.store, house.broker, house.live, settings, lambda: None)


def dispatch(house: Any) -> None:
    settings = DispatchSettings(workers=1, processes=1)
    Dispatcher(house.repository, house.store, house.broker, house.live, settings).fill()


def started(job: str, *images: int, step: int = 0, worker: str = "w") -> Event:
    return Event(kind="started", job=job, chunk=f"c{images[0]}", step=step, images=list(images), worker=worker)


def measured(house: Any, secs: float) -> None:
    """Let every step of the plan have taken `secs` an image."""
    house.live.dispatched(house.job("measured", 1), [(0, 0)])
    timings = [StepTime(step=step, wait=0.0, work=secs) for step in range(3)]
    outcome = Outcome(id=0, state="done", timings=timings)
    house.live.observe([Event(kind="finished", job="measured", chunk="c", outcomes=[outcome])])
    house.repository.cancel_job("measured")
    house.live.forget("measured", 0)


def test_images_of_a_purged_queue_are_sent_again(house: Any, clock: Callable[[float], None]) -> None:
    measured(house, 0.01)
    house.job("a", 4, chunk_size=1)
    dispatch(house)
    empty_queue(house.broker, step_queue("resize"))
    keeper = keeper_of(house)
    assert keeper.repair() == 0, "there is time for a sign of life"
    clock(31.0)
    assert keeper.repair() == 4
    assert (house.row("a").pending, house.live.under_way("a")) == (4, 0)
    dispatch(house)
    assert sorted(chunk.images[0].id for chunk in house.sent()) == [0, 1, 2, 3]


def test_images_whose_messages_wait_are_left_alone_however_long(house: Any, clock: Callable[[float], None]) -> None:
    house.job("a", 4, chunk_size=1)
    dispatch(house)
    clock(100_000.0)
    assert keeper_of(house).repair() == 0


def test_what_waited_long_for_a_first_worker_is_not_lost_once_it_has_it_in_hand(
    house: Any, clock: Callable[[float], None]
) -> None:
    measured(house, 0.01)
    house.job("a", 2, chunk_size=1)
    dispatch(house)
    keeper = keeper_of(house)
    clock(1_000.0)
    assert keeper.repair() == 0
    house.sent()  # a worker took both, and has begun with none
    clock(20.0)
    assert keeper.repair() == 0
    clock(20.0)
    assert keeper.repair() == 2, "by now it would have"


def test_who_was_passed_by_while_a_step_had_no_worker_is_given_time(house: Any, clock: Callable[[float], None]) -> None:
    measured(house, 0.01)
    keeper = keeper_of(house)
    for name in ("first", "second"):
        house.job(name, 1)
        dispatch(house)
        clock(50.0)
    assert keeper.repair() == 0
    consumers = [house.broker.consume([step_queue("resize")], 1) for _ in range(2)]
    house.live.observe([started("second", 0)])
    assert keeper.repair() == 0
    clock(31.0)
    assert keeper.repair() == 1
    assert len(consumers) == 2
    assert house.row("first").pending == 1


def test_a_waiting_image_that_later_ones_have_passed_is_sent_again_although_its_queue_is_full(
    house: Any, clock: Callable[[float], None]
) -> None:
    measured(house, 0.01)
    house.job("lost", 1)
    dispatch(house)
    empty_queue(house.broker, step_queue("resize"))
    clock(50.0)
    house.broker.consume([step_queue("resize")], 1)
    house.job("busy", 3, chunk_size=1)
    dispatch(house)
    keeper = keeper_of(house)
    assert keeper.repair() == 0, "nothing sent after it was begun with"
    house.live.observe([started("busy", 0)])
    assert keeper.repair() == 1
    assert house.row("lost").pending == 1


def test_an_image_in_a_workers_hands_has_the_time_that_its_step_may_take(
    house: Any, clock: Callable[[float], None]
) -> None:
    measured(house, 0.01)
    house.job("a", 1)
    dispatch(house)
    house.sent()
    house.live.observe([started("a", 0)])
    keeper = keeper_of(house)
    clock(80.0)
    assert keeper.repair() == 0
    clock(20.0)
    assert keeper.repair() == 1


def test_slow_steps_are_given_the_time_for_what_their_workers_hold(house: Any, clock: Callable[[float], None]) -> None:
    measured(house, 10.0)
    house.job("a", 2, chunk_size=1)
    dispatch(house)
    empty_queue(house.broker, step_queue("resize"))
    keeper = keeper_of(house)
    clock(60.0)
    assert keeper.repair() == 0, "3 chunks of 30 s may be before it"
    clock(70.0)
    assert keeper.repair() == 2


def test_nothing_is_sent_again_while_signs_of_life_wait_to_be_read(house: Any, clock: Callable[[float], None]) -> None:
    measured(house, 0.01)
    house.job("a", 1)
    dispatch(house)
    empty_queue(house.broker, step_queue("resize"))
    house.tell(house.done("a", 0))
    clock(1_000.0)
    keeper = keeper_of(house)
    assert keeper.repair() == 0
    empty_queue(house.broker, EVENTS_QUEUE)
    assert keeper.repair() == 1


def test_who_is_sent_again_in_vain_is_waited_for_twice_as_long(house: Any, clock: Callable[[float], None]) -> None:
    measured(house, 0.0)
    house.job("a", 1)
    keeper = keeper_of(house)
    for patience in (30.0, 60.0, 120.0):
        dispatch(house)
        empty_queue(house.broker, step_queue("resize"))
        clock(patience - 1.0)
        assert keeper.repair() == 0
        clock(2.0)
        assert keeper.repair() == 1


def test_images_taken_and_never_sent_are_found_in_the_database(house: Any, clock: Callable[[float], None]) -> None:
    """As when a commit's answer got lost, or the coordinator died between taking and sending."""
    measured(house, 0.01)
    house.job("a", 3)
    house.repository.take_pending("a", 2)
    keeper = keeper_of(house)
    assert keeper.repair() == keeper.repair() == 0
    assert house.live.under_way("a") == 2
    clock(31.0)
    assert keeper.repair() == 2
    assert house.row("a").pending == 3


def test_what_has_ended_and_is_not_yet_noted_so_takes_no_room_from_others(house: Any) -> None:
    house.job("a", 100, chunk_size=1)
    dispatch(house)
    sent = [image.id for chunk in house.sent() for image in chunk.images]
    outcomes = [Outcome(id=image, state="failed", error=FAILURE) for image in sent]
    ended = [Event(kind="finished", job="a", chunk="c", outcomes=outcomes)]
    keeper = keeper_of(house)
    keeper.repair()
    house.live.observe(ended)
    keeper.repair()  # while the tracker has them in hand
    house.repository.apply(ended)
    keeper.repair()
    assert house.live.under_way("a") == 0
    dispatch(house)
    assert len(house.sent()) == len(sent)


def test_jobs_that_others_ended_are_forgotten(house: Any) -> None:
    house.job("a", 2)
    dispatch(house)
    house.repository.cancel_job("a")
    keeper_of(house).repair()
    assert house.live.known() == []


def test_what_the_leader_tells_is_what_others_read(house: Any) -> None:
    measured(house, 0.01)
    house.job("a", 4, chunk_size=1)
    dispatch(house)
    house.live.observe([started("a", 0), started("a", 1, 2, step=1)])
    keeper_of(house).tell()
    status = house.repository.get_status()
    assert status is not None
    told = Snapshot(status[1])
    assert told.positions("a") == house.live.positions("a") == [(1, 1), (0, 2), (0, 0)]
    assert told.seconds_per_image("blur") == house.live.seconds_per_image("blur") == 0.01
    assert told.chunks_running() == house.live.chunks_running() == {"resize": 1, "blur": 1}
    assert told.images_per_second("a") == json.loads(status[1])["jobs"]["a"]["rate"]
    assert told.busy("blur") is not None
    nothing = Snapshot()
    assert (nothing.positions("a"), nothing.busy("blur"), nothing.chunks_running()) == ([], None, {})


def keys(house: Any) -> set[str]:
    prefixes = ("work", "results", "resume", "cancelled", "plans", "uploads")
    return {key for prefix in prefixes for key in house.store.list(prefix)}


def put(house: Any, *names: str) -> set[str]:
    for name in names:
        house.store.put(name, [b"x"])
    return set(names)


def test_a_sweep_takes_late_work_and_nothing_of_open_jobs(house: Any) -> None:
    house.job("open", 1)
    house.job("over", 1)
    house.repository.cancel_job("over")
    kept = put(house, work_key("open", "0-c", 1), "resume/open/0-0", "results/open/0-0.jpg", "plans/open.json")
    put(house, work_key("over", "0-c", 1), work_key("gone", "0-c", 1), "resume/over/0-0")
    put(house, "results/gone/0-0.jpg", "plans/gone.json")
    GarbageCollector(house.repository, house.store, abandoned_secs=60.0).sweep()
    assert keys(house) == kept


def test_a_sweep_leaves_what_may_yet_be_needed_until_it_is_old(house: Any) -> None:
    upload, cancelled = new_id(), new_id()
    house.job(cancelled, 1)
    house.repository.cancel_job(cancelled)
    kept = put(house, f"uploads/{upload}/0", cancellation_key(cancelled))
    GarbageCollector(house.repository, house.store, abandoned_secs=60.0).sweep()
    assert keys(house) == kept
    GarbageCollector(house.repository, house.store, abandoned_secs=0.0).sweep()
    assert keys(house) == set()


def test_the_thread_repairs_sweeps_and_tells(house: Any) -> None:
    settings = ReconcilerSettings(
        repair_secs=0.05, step_timeout_secs=0.05, sweep_secs=0.05, abandoned_secs=60.0, tells=True
    )
    put(house, work_key("gone", "0-c", 1))
    house.job("a", 1)
    house.repository.take_pending("a", 1)
    keeper = keeper_of(house, settings)
    keeper.start()
    try:
        house.wait_until(lambda: house.row("a").pending == 1)
        house.wait_until(lambda: not keys(house))
        house.wait_until(lambda: house.repository.get_status() is not None)
    finally:
        keeper.stop()
    assert house.row("a").state == JobState.RUNNING

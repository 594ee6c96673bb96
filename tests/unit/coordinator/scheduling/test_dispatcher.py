"""The dispatcher: a window for each job, chunks of the right size, and nothing taken and not sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, Outcome, StepTime, read_events
from penstock.coordinator.ports.repository import Image
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings

ONE = DispatchSettings(workers=1, processes=1, window_images=32, max_chunk=8)


def dispatcher_of(house: Any, settings: DispatchSettings = ONE, **other: Any) -> Dispatcher:
    parts = {"repository": house.repository, "store": house.store, "broker": house.broker, **other}
    return Dispatcher(parts["repository"], parts["store"], parts["broker"], house.live, settings)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before the next attempt."""
    monkeypatch.setattr("penstock.coordinator.scheduling.dispatcher._RETRY_SECS", 0.01)


@pytest.fixture
def threads() -> Iterator[list[Dispatcher]]:
    """Dispatchers whose threads are to be ended."""
    started: list[Dispatcher] = []
    yield started
    for dispatcher in started:
        dispatcher.stop()


def test_a_chunk_says_all_that_a_worker_needs(house: Any) -> None:
    house.job("a", 1)
    dispatcher_of(house).fill()
    [chunk] = house.sent()
    assert (chunk.job, chunk.run, chunk.step, chunk.blob, chunk.results) == ("a", 0, 0, None, "results/a")
    assert chunk.plan == house.row("a").plan.document()
    assert [(image.id, image.stem, image.ref) for image in chunk.images] == [(0, "0", "uploads/u/0")]
    assert house.row("a").queued == 1
    assert house.live.under_way("a") == 1


def test_a_job_has_no_more_under_way_than_its_window(house: Any) -> None:
    house.job("a", 100, chunk_size=2)
    dispatcher = dispatcher_of(house, DispatchSettings(workers=2, processes=2, window_images=6))
    assert [dispatcher.fill(), dispatcher.fill()] == [12, 0]
    assert [len(chunk.images) for chunk in house.sent()] == [2] * 6


def test_the_window_is_filled_again_once_half_of_it_is_free(house: Any) -> None:
    house.job("a", 100, chunk_size=1)
    dispatcher = dispatcher_of(house)
    dispatcher.fill()
    for image, room in ((0, 0), (1, 2)):
        house.live.observe([Event(kind="finished", job="a", chunk="c", outcomes=[Outcome(id=image, state="done")])])
        assert dispatcher.fill() == room


def test_few_images_go_one_by_one_and_many_share_messages(house: Any) -> None:
    house.job("few", 2)
    dispatcher_of(house, DispatchSettings(workers=2, processes=2)).fill()
    assert [len(chunk.images) for chunk in house.sent()] == [1, 1]
    house.job("many", 1_000)
    dispatcher_of(house, DispatchSettings(workers=2, processes=2)).fill()
    assert {len(chunk.images) for chunk in house.sent() if chunk.job == "many"} == {8}


def test_images_that_take_long_go_one_by_one_however_many(house: Any) -> None:
    house.job("slow", 1_000)
    measured(house, "slow", 2.0)
    dispatcher_of(house).fill()
    assert {len(chunk.images) for chunk in house.sent()} == {1}


def measured(house: Any, name: str, secs: float) -> None:
    """Let the first step of a job have taken `secs` for an image of it."""
    house.live.dispatched(house.row(name), [(10_000, 0)])
    outcome = Outcome(id=10_000, state="done", timings=[StepTime(step=0, wait=0.0, work=secs)])
    house.live.observe([Event(kind="finished", job=name, chunk="c", outcomes=[outcome])])


@pytest.mark.parametrize(
    ("secs", "chunk_size", "images"),
    [(0.004, 1, 30), (0.0001, 1, 32), (0.004, None, 30), (0.02, None, 6), (5.0, None, 2), (5.0, 8, 16)],
)
def test_a_worker_has_a_tenth_of_a_second_of_work_before_it_or_two_chunks(
    house: Any, secs: float, chunk_size: int | None, images: int
) -> None:
    house.job("a", 1_000, chunk_size=chunk_size)
    measured(house, "a", secs)
    assert dispatcher_of(house).fill() == images


def test_long_names_make_smaller_chunks_so_that_messages_stay_under_4_kb(house: Any) -> None:
    images = [Image(i, f"{i}", f"{i:03}" + "ü" * 110, f"file:///{'p' * 300}/{i}") for i in range(64)]
    house.job("a", images, chunk_size=64)
    dispatcher_of(house).fill()
    chunks = house.sent()
    assert sum(len(chunk.images) for chunk in chunks) == 64
    assert max(len(chunk.model_dump_json().encode()) for chunk in chunks) < 4_096


def test_a_long_plan_travels_as_a_reference(house: Any) -> None:
    plan = [{"op": "blur", "method": "median"}] * 60 + [{"op": "encode"}]
    house.job("a", 1, plan=plan)
    dispatcher_of(house).fill()
    [chunk] = house.sent("blur")
    assert chunk.plan == "plans/a.json"
    assert json.loads(house.store.get("plans/a.json")) == plan


def test_the_same_images_sent_again_use_the_same_objects(house: Any) -> None:
    house.job("a", 6, chunk_size=3)
    dispatcher_of(house).fill()
    before = [chunk.chunk for chunk in house.sent()]
    house.repository.requeue_in_flight()
    house.live.forget("b", 0)
    fresh = type(house.live)()
    Dispatcher(house.repository, house.store, house.broker, fresh, ONE).fill()
    assert [chunk.chunk for chunk in house.sent()] == before
    assert len(set(before)) == 2


def test_retried_images_go_on_where_they_failed(house: Any) -> None:
    house.job("a", 2)
    house.repository.take_pending("a", 2)
    house.repository.apply([house.failed("a", 0, blob="resume/a/0-0"), house.done("a", 1)])
    house.repository.retry_job("a")
    dispatcher_of(house).fill()
    assert house.sent("resize") == []
    [chunk] = house.sent("blur")
    assert (chunk.step, chunk.blob, chunk.run) == (1, "resume/a/0-0", 1)


def test_a_job_of_higher_priority_goes_first(house: Any) -> None:
    house.job("low", 50, chunk_size=1)
    house.job("high", 5, chunk_size=1, priority=1)
    dispatcher = dispatcher_of(house)
    dispatcher.fill()
    assert {chunk.job for chunk in house.sent()} == {"high"}


def test_a_job_that_comes_late_does_not_make_up_for_the_time_before(house: Any) -> None:
    house.job("old", 400, chunk_size=1)
    dispatcher = dispatcher_of(house)
    dispatcher.fill()
    house.job("new", 400, chunk_size=1)
    dispatcher.fill()
    assert dispatcher._served["new"] >= 4.0


def test_a_step_that_is_installed_no_more_fails_its_images_and_stops_nobody(house: Any) -> None:
    house.job("gone", 3, plan=[{"op": "vanished"}, {"op": "encode"}])
    house.job("fine", 1)
    dispatcher_of(house).fill()
    assert [chunk.job for chunk in house.sent()] == ["fine"]
    events = house.broker.consume([EVENTS_QUEUE], 100)
    outcomes = []
    while delivery := events.get(0.0):
        outcomes += [outcome for event in read_events(delivery.body) for outcome in event.outcomes]
    assert sorted(outcome.id for outcome in outcomes) == [0, 1, 2]
    assert outcomes[0].error.message == "no step 'vanished' is installed here"
    assert outcomes[0].error.retry is True


def test_nothing_is_taken_while_the_store_cannot_hold_the_plan(
    house: Any, stumbling: Any, fast: None, threads: list[Dispatcher]
) -> None:
    house.job("a", 2, plan=[{"op": "blur", "method": "median"}] * 60 + [{"op": "encode"}])
    store = stumbling(house.store)
    store.trouble["put"] = [UnavailableError("store", "away")]
    dispatcher = dispatcher_of(house, store=store)
    with pytest.raises(UnavailableError):
        dispatcher.fill()
    assert house.row("a").pending == 2
    assert dispatcher.fill() == 2


def test_what_was_taken_is_sent_once_the_broker_is_back(
    house: Any, stumbling: Any, fast: None, threads: list[Dispatcher]
) -> None:
    house.job("a", 3, chunk_size=1)
    broker = stumbling(house.broker)
    broker.trouble["publish"] = [UnavailableError("broker", "away")] * 2
    dispatcher = dispatcher_of(house, broker=broker)
    threads.append(dispatcher)
    dispatcher.start()
    found: list[Any] = []
    house.wait_until(lambda: found.extend(house.sent()) or len(found) == 3)
    assert [chunk.images[0].id for chunk in found] == [0, 1, 2]


@pytest.mark.parametrize("trouble", [UnavailableError("database", "away"), RuntimeError("nobody foresaw this")])
def test_the_thread_outlives_whatever_the_database_raises(
    house: Any, stumbling: Any, fast: None, threads: list[Dispatcher], trouble: Exception
) -> None:
    house.job("a", 3, chunk_size=1)
    repository = stumbling(house.repository)
    repository.trouble = {"dispatchable": [trouble, trouble], "take_pending": [trouble]}
    dispatcher = dispatcher_of(house, repository=repository)
    threads.append(dispatcher)
    dispatcher.start()
    house.wait_until(lambda: house.live.under_way("a") == 3)
    assert len(house.sent()) == 3


def test_what_nobody_wakes_it_for_is_found_as_well(house: Any, threads: list[Dispatcher]) -> None:
    dispatcher = dispatcher_of(house, DispatchSettings(poll_secs=0.01))
    threads.append(dispatcher)
    dispatcher.start()
    house.job("a", 1)
    house.wait_until(lambda: house.live.under_way("a") == 1)


def test_stop_ends_the_thread(house: Any) -> None:
    dispatcher = dispatcher_of(house)
    dispatcher.start()
    dispatcher.wake()
    dispatcher.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "dispatcher"]

"""The tracker: events become rows once, in batches, and nothing that is told makes it stop listening."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, Event, StepTime
from penstock.coordinator.ports.repository import Applied
from penstock.coordinator.scheduling.tracker import Tracker


@pytest.fixture
def applied() -> list[Applied]:
    return []


@pytest.fixture
def track(house: Any, applied: list[Applied], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Tracker]]:
    """Start a tracker."""
    monkeypatch.setattr("penstock.coordinator.scheduling.tracker._RETRY_SECS", 0.01)
    started: list[Tracker] = []

    def start(repository: Any = house.repository, on_applied: Any = applied.extend) -> Tracker:
        tracker = Tracker(repository, house.broker, house.live, on_applied)
        tracker.start()
        started.append(tracker)
        return tracker

    yield start
    for tracker in started:
        tracker.stop()


def quiet(house: Any) -> bool:
    depth = house.broker.depth(EVENTS_QUEUE)
    return not depth.ready and not depth.in_flight


def test_a_job_ends_once_when_its_last_image_does(
    house: Any, track: Callable[..., Tracker], applied: list[Applied]
) -> None:
    house.job("a", 3)
    house.repository.take_pending("a", 3)
    track()
    for event in (house.done("a", 0), house.done("a", 0), house.failed("a", 1), house.done("a", 2), house.done("a", 2)):
        house.tell(event)
    house.wait_until(lambda: quiet(house))
    row = house.row("a")
    assert (row.state, row.done, row.failed) == (JobState.PARTIAL, 2, 1)
    assert sum(change.finished for change in applied) == 1


def test_images_run_once_their_work_has_started(house: Any, track: Callable[..., Tracker]) -> None:
    house.job("a", 2)
    house.repository.take_pending("a", 2)
    track()
    house.tell(Event(kind="started", job="a", chunk="c", images=[0]))
    house.wait_until(lambda: house.row("a").running == 1)
    assert house.row("a").queued == 1


def test_what_cannot_be_read_goes_to_the_dead_letters(house: Any, track: Callable[..., Tracker]) -> None:
    house.job("a", 1)
    house.repository.take_pending("a", 1)
    track()
    house.broker.publish(EVENTS_QUEUE, [b"\xff", b'{"v": 2}'])
    house.tell(house.done("a", 0))
    house.wait_until(lambda: house.row("a").state == JobState.SUCCEEDED)
    letters = house.broker.consume([DEAD_LETTER_QUEUE], 2)
    assert [json.loads(letters.get(5.0).body)["queue"] for _ in range(2)] == [EVENTS_QUEUE] * 2


def test_what_cannot_be_followed_is_applied_all_the_same(
    house: Any, track: Callable[..., Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.job("a", 2)
    house.repository.take_pending("a", 2)
    monkeypatch.setattr(house.live.meters, "count_image", lambda *_: [][0])
    house.live.adopt(house.row("a"), [(0, 0), (1, 0)])
    track()
    for image in range(2):
        house.tell(house.done("a", image))
    house.wait_until(lambda: house.row("a").state == JobState.SUCCEEDED)
    house.wait_until(lambda: quiet(house))


def test_events_wait_while_the_database_is_away(house: Any, stumbling: Any, track: Callable[..., Tracker]) -> None:
    house.job("a", 2)
    house.repository.take_pending("a", 2)
    repository = stumbling(house.repository)
    repository.trouble["apply"] = [UnavailableError("database", "away")] * 3
    track(repository)
    house.tell(house.done("a", 0, 1))
    house.wait_until(lambda: house.row("a").state == JobState.SUCCEEDED)
    house.wait_until(lambda: quiet(house))


def test_an_event_that_cannot_be_applied_costs_no_other(
    house: Any, stumbling: Any, track: Callable[..., Tracker]
) -> None:
    """The batch fails, then the first event of it: the other two are applied."""
    house.job("a", 3)
    house.repository.take_pending("a", 3)
    repository = stumbling(house.repository)
    repository.trouble["apply"] = [RuntimeError("batch"), RuntimeError("poison")]
    bodies = [house.done("a", image).model_dump_json().encode() for image in range(3)]
    house.live.dispatched(house.row("a"), [(image, 0) for image in range(3)])
    house.broker.publish(EVENTS_QUEUE, bodies)
    track(repository)
    house.wait_until(lambda: house.row("a").done == 2)
    house.wait_until(lambda: quiet(house))
    assert [image.state for image in house.repository.list_images("a", limit=9)] == ["queued", "done", "done"]


def test_what_follows_from_an_event_may_fail_without_stopping_the_thread(
    house: Any, track: Callable[..., Tracker]
) -> None:
    calls = []

    def stumble(changes: list[Applied]) -> None:
        calls.append(changes)
        if len(calls) == 1:
            raise RuntimeError("nobody foresaw this")

    house.job("a", 1)
    house.repository.take_pending("a", 1)
    track(on_applied=stumble)
    house.tell(house.done("a", 0))
    house.wait_until(lambda: house.row("a").state == JobState.SUCCEEDED)
    house.tell(house.done("a", 0))
    house.wait_until(lambda: len(calls) == 2 and quiet(house))


def test_times_that_make_no_sense_do_no_harm(house: Any, track: Callable[..., Tracker]) -> None:
    house.live.dispatched(house.job("a", 1), [(0, 0)])
    house.repository.take_pending("a", 1)
    track()
    event = house.done("a", 0)
    event.outcomes[0].timings = [StepTime(step=99, wait=1.0, work=1.0), StepTime(step=-1, wait=1.0, work=1.0)]
    house.tell(event)
    house.wait_until(lambda: house.row("a").state == JobState.SUCCEEDED)


def test_stop_applies_what_has_arrived(house: Any, track: Callable[..., Tracker]) -> None:
    house.job("a", 600)
    house.repository.take_pending("a", 600)
    tracker = track()
    house.broker.publish(EVENTS_QUEUE, [house.done("a", image).model_dump_json().encode() for image in range(600)])
    tracker.stop()
    assert house.row("a").done == 600

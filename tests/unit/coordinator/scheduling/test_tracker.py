"""Tracker: events are applied once, in batches, and no event stops it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from coordinator_fixture import CoordinatorFixture, inject_faults
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, Event, StepTime
from penstock.coordinator.ports.repository import Applied, Repository
from penstock.coordinator.scheduling.tracker import Tracker

StartTracker = Callable[..., Tracker]


@pytest.fixture
def applied() -> list[Applied]:
    return []


@pytest.fixture
def start_tracker(coordinator: CoordinatorFixture, applied: list[Applied]) -> Iterator[StartTracker]:
    """Starts a tracker; `applied` collects what it reports."""
    started: list[Tracker] = []

    def start(
        repository: Repository = coordinator.repository, on_applied: Callable[[list[Applied]], None] = applied.extend
    ) -> Tracker:
        tracker = Tracker(repository, coordinator.broker, coordinator.in_flight, on_applied, retry_secs=0.01)
        tracker.start()
        started.append(tracker)
        return tracker

    yield start
    for tracker in started:
        tracker.stop()


def all_settled(coordinator: CoordinatorFixture) -> bool:
    depth = coordinator.broker.depth(EVENTS_QUEUE)
    return not depth.ready and not depth.in_flight


def test_a_job_ends_once_with_its_last_image(
    coordinator: CoordinatorFixture, start_tracker: StartTracker, applied: list[Applied]
) -> None:
    coordinator.accept_job("a", 3)
    coordinator.repository.take_pending("a", 3)
    start_tracker()
    for event in (
        coordinator.done("a", 0),
        coordinator.done("a", 0),
        coordinator.failed("a", 1),
        coordinator.done("a", 2),
        coordinator.done("a", 2),
    ):
        coordinator.send_event(event)
    wait_until(lambda: all_settled(coordinator))
    row = coordinator.get_job("a")
    assert (row.state, row.done, row.failed) == (JobState.PARTIAL, 2, 1)
    assert sum(change.finished for change in applied) == 1


def test_images_are_running_after_their_started_event(
    coordinator: CoordinatorFixture, start_tracker: StartTracker
) -> None:
    coordinator.accept_job("a", 2)
    coordinator.repository.take_pending("a", 2)
    start_tracker()
    coordinator.send_event(Event(kind="started", job="a", chunk="c", images=[0]))
    wait_until(lambda: coordinator.get_job("a").running == 1)
    assert coordinator.get_job("a").queued == 1


def test_unreadable_events_become_dead_letters(coordinator: CoordinatorFixture, start_tracker: StartTracker) -> None:
    coordinator.accept_job("a", 1)
    coordinator.repository.take_pending("a", 1)
    start_tracker()
    coordinator.broker.publish(EVENTS_QUEUE, [b"\xff", b'{"v": 2}'])
    coordinator.send_event(coordinator.done("a", 0))
    wait_until(lambda: coordinator.get_job("a").state == JobState.SUCCEEDED)
    letters = coordinator.broker.consume([DEAD_LETTER_QUEUE], 2)
    received = [letters.get(5.0), letters.get(5.0)]
    assert [json.loads(letter.body)["queue"] for letter in received if letter] == [EVENTS_QUEUE] * 2


def test_an_event_is_applied_although_updating_positions_failed(
    coordinator: CoordinatorFixture, start_tracker: StartTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.accept_job("a", 2)
    coordinator.repository.take_pending("a", 2)
    monkeypatch.setattr(coordinator.in_flight.counters, "count_images", lambda *_: [][0])
    coordinator.in_flight.adopt(coordinator.get_job("a"), [(0, 0), (1, 0)])
    start_tracker()
    for image in range(2):
        coordinator.send_event(coordinator.done("a", image))
    wait_until(lambda: coordinator.get_job("a").state == JobState.SUCCEEDED)
    wait_until(lambda: all_settled(coordinator))


def test_events_are_kept_while_the_database_is_unreachable(
    coordinator: CoordinatorFixture, start_tracker: StartTracker
) -> None:
    coordinator.accept_job("a", 2)
    coordinator.repository.take_pending("a", 2)
    start_tracker(inject_faults(coordinator.repository, apply=[UnavailableError("database", "unreachable")] * 3))
    coordinator.send_event(coordinator.done("a", 0, 1))
    wait_until(lambda: coordinator.get_job("a").state == JobState.SUCCEEDED)
    wait_until(lambda: all_settled(coordinator))


def test_an_event_that_cannot_be_applied_is_dropped_alone(
    coordinator: CoordinatorFixture, start_tracker: StartTracker
) -> None:
    """The batch fails, then the first event of it: the other two are applied."""
    coordinator.accept_job("a", 3)
    coordinator.repository.take_pending("a", 3)
    repository = inject_faults(coordinator.repository, apply=[RuntimeError("batch"), RuntimeError("poison")])
    bodies = [coordinator.done("a", image).model_dump_json().encode() for image in range(3)]
    coordinator.in_flight.add_dispatched(coordinator.get_job("a"), [(image, 0) for image in range(3)])
    coordinator.broker.publish(EVENTS_QUEUE, bodies)
    start_tracker(repository)
    wait_until(lambda: coordinator.get_job("a").done == 2)
    wait_until(lambda: all_settled(coordinator))
    assert [image.state for image in coordinator.repository.list_images("a", limit=9)] == [
        "queued",
        "done",
        "done",
    ]


def test_a_failing_callback_does_not_stop_the_thread(
    coordinator: CoordinatorFixture, start_tracker: StartTracker
) -> None:
    calls: list[list[Applied]] = []

    def fail_once(changes: list[Applied]) -> None:
        calls.append(changes)
        if len(calls) == 1:
            raise RuntimeError("unexpected")

    coordinator.accept_job("a", 1)
    coordinator.repository.take_pending("a", 1)
    start_tracker(on_applied=fail_once)
    coordinator.send_event(coordinator.done("a", 0))
    wait_until(lambda: coordinator.get_job("a").state == JobState.SUCCEEDED)
    coordinator.send_event(coordinator.done("a", 0))
    wait_until(lambda: len(calls) == 2 and all_settled(coordinator))


def test_times_of_unknown_operations_are_ignored(coordinator: CoordinatorFixture, start_tracker: StartTracker) -> None:
    coordinator.in_flight.add_dispatched(coordinator.accept_job("a", 1), [(0, 0)])
    coordinator.repository.take_pending("a", 1)
    start_tracker()
    event = coordinator.done("a", 0)
    event.outcomes[0].timings = [StepTime(step=99, wait=1.0, work=1.0), StepTime(step=-1, wait=1.0, work=1.0)]
    coordinator.send_event(event)
    wait_until(lambda: coordinator.get_job("a").state == JobState.SUCCEEDED)


def test_stop_applies_the_events_that_have_arrived(
    coordinator: CoordinatorFixture, start_tracker: StartTracker
) -> None:
    coordinator.accept_job("a", 600)
    coordinator.repository.take_pending("a", 600)
    tracker = start_tracker()
    coordinator.broker.publish(
        EVENTS_QUEUE, [coordinator.done("a", image).model_dump_json().encode() for image in range(600)]
    )
    tracker.stop()
    assert coordinator.get_job("a").done == 600

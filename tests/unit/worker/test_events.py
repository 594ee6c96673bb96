"""EventPublisher: outcomes at once, progress in batches, and only the latest progress of each chunk."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from waiting import wait_until

from penstock.common.broker.memory import MemoryBroker
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, Outcome, read_events
from penstock.worker.events import EventPublisher


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.declare([EVENTS_QUEUE])
    return broker


@pytest.fixture
def publisher(broker: MemoryBroker) -> Iterator[EventPublisher]:
    """A publisher that sends nothing unasked after the first event."""
    publisher = EventPublisher(broker, CallCounters(), linger_secs=600.0)
    publisher.publish_progress(started("first"), "first")
    yield publisher
    publisher.close()


def started(chunk: str) -> Event:
    return Event(kind="started", job="j", chunk=chunk, images=[0])


def stepped(chunk: str) -> Event:
    return Event(kind="stepped", job="j", chunk=chunk, step=1, images=[0])


def finished(chunk: str) -> Event:
    return Event(kind="finished", job="j", chunk=chunk, outcomes=[Outcome(id=0, state="done")])


def messages(broker: MemoryBroker) -> list[list[Event]]:
    consumer = broker.consume([EVENTS_QUEUE], 100)
    bodies = []
    while (delivery := consumer.get(0.0)) is not None:
        bodies.append(read_events(delivery.body))
        consumer.ack(delivery)
    consumer.close()
    return bodies


def test_the_first_progress_event_is_sent_at_once(broker: MemoryBroker, publisher: EventPublisher) -> None:
    assert messages(broker) == [[started("first")]]


def test_later_progress_events_are_sent_together_after_a_moment(broker: MemoryBroker) -> None:
    publisher = EventPublisher(broker, CallCounters(), linger_secs=0.2)
    for chunk in ("first", "a", "b"):
        publisher.publish_progress(started(chunk), chunk)
    wait_until(lambda: broker.depth(EVENTS_QUEUE).ready == 2)
    assert messages(broker) == [[started("first")], [started("a"), started("b")]]
    publisher.close()


def test_only_the_latest_progress_of_a_chunk_is_sent(broker: MemoryBroker, publisher: EventPublisher) -> None:
    publisher.publish_progress(started("a"), "a")
    publisher.publish_progress(stepped("a"), "a")
    publisher.close()
    assert messages(broker) == [[started("first")], [stepped("a")]]


def test_the_thread_is_not_woken_for_progress_while_it_waits_to_send(
    publisher: EventPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition, is_lingering, woken = publisher._changed, threading.Event(), list[None]()
    wait = condition.wait

    def note_and_wait(timeout_secs: float | None = None) -> bool:
        if timeout_secs is not None:
            is_lingering.set()
        return wait(timeout_secs)

    monkeypatch.setattr(condition, "wait", note_and_wait)
    publisher.publish_progress(started("second"), "second")
    assert is_lingering.wait(5.0)
    with monkeypatch.context() as patch:
        patch.setattr(condition, "notify", lambda: woken.append(None))
        for _ in range(10):
            publisher.make_message(finished("second"), "second")
            publisher.publish_progress(started("second"), "second")
    assert not woken


def test_progress_that_follows_what_was_sent_at_once_is_sent_after_a_moment(broker: MemoryBroker) -> None:
    publisher = EventPublisher(broker, CallCounters(), linger_secs=0.02)
    for number in range(20):  # the thread may find nothing that waits whenever it is woken
        publisher.publish_progress(started(f"a{number}"), f"a{number}")
        publisher.make_message(finished(f"a{number}"), f"a{number}")
        publisher.publish_progress(started(f"b{number}"), f"b{number}")
        wait_until(lambda: not publisher._waiting)
    publisher.close()


def test_outcomes_are_sent_at_once_with_the_progress_that_waits(
    broker: MemoryBroker, publisher: EventPublisher
) -> None:
    for chunk in ("a", "b"):
        publisher.publish_progress(started(chunk), chunk)
    publisher.publish_outcomes(finished("b"), "b")
    assert messages(broker) == [[started("first")], [started("a"), finished("b")]]


def test_waiting_events_are_sent_on_close(broker: MemoryBroker, publisher: EventPublisher) -> None:
    publisher.publish_progress(started("a"), "a")
    publisher.close()
    assert messages(broker) == [[started("first")], [started("a")]]


class UnreachableBroker(MemoryBroker):
    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        raise UnavailableError("broker", "unreachable")


def test_an_unreachable_broker_fails_outcomes_but_not_progress() -> None:
    publisher = EventPublisher(UnreachableBroker(), CallCounters())
    publisher.publish_progress(started("a"), "a")
    publisher.publish_progress(started("b"), "b")
    with pytest.raises(UnavailableError):
        publisher.publish_outcomes(finished("b"), "b")
    publisher.close()

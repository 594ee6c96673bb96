"""Telling: outcomes at once, the way there in company, and only the latest of each chunk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from waiting import wait_until

from penstock.common.broker.memory import MemoryBroker
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, Outcome, read_events
from penstock.worker.events import EventPublisher


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.declare([EVENTS_QUEUE])
    return made


@pytest.fixture
def teller(broker: MemoryBroker) -> Iterator[EventPublisher]:
    made = EventPublisher(broker, CallCounters())
    yield made
    made.close()


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


def test_the_first_news_go_out_at_once(broker: MemoryBroker, teller: EventPublisher) -> None:
    teller.tell_on_way(started("a"), "a")
    assert messages(broker) == [[started("a")]]


def test_news_wait_for_company_and_then_go_out_by_themselves(broker: MemoryBroker, teller: EventPublisher) -> None:
    teller.tell_on_way(started("first"), "first")
    for chunk in ("a", "b"):
        teller.tell_on_way(started(chunk), chunk)
    wait_until(lambda: broker.depth(EVENTS_QUEUE).ready == 2)
    assert messages(broker) == [[started("first")], [started("a"), started("b")]]


def test_only_the_latest_of_a_chunk_is_told(broker: MemoryBroker, teller: EventPublisher) -> None:
    teller.tell_on_way(started("first"), "first")
    teller.tell_on_way(started("a"), "a")
    teller.tell_on_way(stepped("a"), "a")
    wait_until(lambda: broker.depth(EVENTS_QUEUE).ready == 2)
    assert messages(broker)[1] == [stepped("a")]


def test_outcomes_do_not_wait_and_take_along_what_does(broker: MemoryBroker, teller: EventPublisher) -> None:
    teller.tell_on_way(started("first"), "first")
    for chunk in ("a", "b"):
        teller.tell_on_way(started(chunk), chunk)
    teller.tell_final(finished("b"), "b")
    assert messages(broker) == [[started("first")], [started("a"), finished("b")]]


def test_what_waits_is_told_before_leaving(broker: MemoryBroker) -> None:
    teller = EventPublisher(broker, CallCounters())
    teller.tell_on_way(started("first"), "first")
    teller.tell_on_way(started("a"), "a")
    teller.close()
    assert messages(broker) == [[started("first")], [started("a")]]


def test_a_broker_that_is_away_hinders_only_outcomes(broker: MemoryBroker) -> None:
    class Away:
        def publish(self, queue: str, bodies: list[bytes], *, confirm: bool = True) -> None:
            raise UnavailableError("broker", "away")

    teller = EventPublisher(Away(), CallCounters())
    teller.tell_on_way(started("a"), "a")
    teller.tell_on_way(started("b"), "b")
    with pytest.raises(UnavailableError):
        teller.tell_final(finished("b"), "b")
    teller.close()

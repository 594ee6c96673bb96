"""Leading: the conductor works while this coordinator has the right to, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.common.broker.base import QueueDepth
from penstock.common.broker.memory import MemoryBroker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import step_queue
from penstock.coordinator.ports.leadership import Leadership
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.leader import LeaderLoop
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.coordinator.scheduling.worker_counts import WorkerCounter, WorkerCounts


class Baton(Leadership):
    """A right that the test hands over and takes away."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.released = False
        self._calls: list[Callable[[], None]] = []

    @property
    def term(self) -> int | None:
        return None

    def acquire(self, timeout_secs: float) -> bool:
        return self.free.wait(0.02)

    def is_leader(self) -> bool:
        return self.free.is_set()

    def on_lost(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def release(self) -> None:
        self.released = True

    def take_away(self) -> None:
        self.free.clear()
        for call in self._calls:
            call()


@pytest.fixture
def baton() -> Baton:
    return Baton()


@pytest.fixture
def lead(house: Any, baton: Baton, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., JobScheduler]]:
    """Start to ask for the right."""
    monkeypatch.setattr("penstock.coordinator.scheduling.leader._RETRY_SECS", 0.01)
    started: list[LeaderLoop] = []

    def start(repository: Any = house.repository) -> JobScheduler:
        conductor = JobScheduler(repository, house.store, house.broker, DispatchSettings(), ReconcilerSettings())
        started.append(LeaderLoop(conductor, baton))
        started[-1].start()
        return conductor

    yield start
    for leading in started:
        leading.stop()
    assert baton.released


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"dispatcher", "tracker", "housekeeper"}


def test_who_does_not_lead_dispatches_nothing(house: Any, baton: Baton, lead: Callable[..., JobScheduler]) -> None:
    conductor = lead()
    house.job("a", 1)
    conductor.wake()
    assert threads() == set()
    baton.free.set()
    house.wait_until(lambda: house.row("a").queued == 1)
    assert threads() == {"dispatcher", "tracker", "housekeeper"}


def test_who_leads_no_more_stops_and_may_lead_again(
    house: Any, baton: Baton, lead: Callable[..., JobScheduler]
) -> None:
    conductor = lead()
    baton.free.set()
    house.wait_until(lambda: len(threads()) == 3)
    baton.take_away()
    house.wait_until(lambda: not threads())
    house.job("a", 1)
    conductor.wake()
    assert house.row("a").pending == 1
    baton.free.set()
    house.wait_until(lambda: house.row("a").queued == 1)


def test_a_leader_follows_what_the_one_before_has_sent(
    house: Any, baton: Baton, lead: Callable[..., JobScheduler]
) -> None:
    house.job("a", 3)
    house.repository.take_pending("a", 3)
    conductor = lead()
    baton.free.set()
    house.wait_until(lambda: conductor.live("a") == [(3, 0), (0, 0), (0, 0)])
    house.tell(house.done("a", 0))
    house.wait_until(lambda: house.row("a").done == 1)
    assert house.row("a").queued == 2


def test_a_database_that_is_away_when_a_term_begins_is_waited_for(
    house: Any, stumbling: Any, baton: Baton, lead: Callable[..., JobScheduler]
) -> None:
    repository = stumbling(house.repository)
    repository.trouble["open_jobs"] = [UnavailableError("database", "away"), RuntimeError("nobody foresaw this")]
    house.job("a", 1)
    lead(repository)
    baton.free.set()
    house.wait_until(lambda: house.row("a").queued == 1)


def test_who_follows_answers_with_what_the_leader_told(house: Any) -> None:
    follower = JobScheduler(house.repository, house.store, house.broker, DispatchSettings(), ReconcilerSettings())
    assert follower.live("a") == []
    job = house.job("a", 2)
    house.live.dispatched(job, [(0, 0), (1, 1)])
    house.repository.put_status(house.live.tell())
    house.wait_until(lambda: follower.live("a") == [(1, 0), (1, 0), (0, 0)])
    steps = {status.name: status for status in follower.steps()}
    assert (steps["resize"].remaining, steps["blur"].remaining) == (1, 2)


def test_workers_are_counted_at_their_queue_and_not_asked_for_each_time(house: Any) -> None:
    fleet = WorkerCounts(house.broker)
    queue = step_queue("resize")
    consumers = [house.broker.consume([queue], 1) for _ in range(3)]
    assert fleet.workers("resize") == 3
    for consumer in consumers:
        consumer.close()
    assert fleet.workers("resize") == 3, "for the moment"
    assert WorkerCounts(house.broker).workers("resize") == 1
    assert WorkerCounts(house.broker, at_least=2).workers("resize") == 2
    assert house.broker.depth(queue) == QueueDepth(0, 0, 0)


class AwayBroker(MemoryBroker):
    """A broker that answers no question before a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answers = threading.Event(), threading.Event()

    def depth(self, queue: str) -> QueueDepth:
        self.asked.set()
        assert self.answers.wait(20)
        raise UnavailableError("broker", "away")


def test_who_cannot_wait_for_a_broker_gets_what_was_seen_last(house: Any) -> None:
    census = WorkerCounter(house.broker)
    consumer = house.broker.consume([step_queue("blur")], 1)
    assert (census.workers("blur"), census.workers("resize")) == (1, 0)
    consumer.close()
    away = AwayBroker()
    census = WorkerCounter(away)
    waits = threading.Thread(target=census.workers, args=["blur"])
    waits.start()
    assert away.asked.wait(20)
    assert census.workers("blur") == 0, "another one waits already"
    away.answers.set()
    waits.join(20)
    assert census.workers("blur") == 0, "no answer is no error"

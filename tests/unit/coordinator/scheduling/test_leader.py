"""Leader loop: the scheduler runs while this coordinator leads, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from coordinator_fixture import CoordinatorFixture, inject_faults
from waiting import wait_until

from penstock.common.broker.base import QueueDepth
from penstock.common.broker.memory import MemoryBroker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import step_queue
from penstock.coordinator.ports.leadership import Leadership
from penstock.coordinator.ports.repository import Repository
from penstock.coordinator.scheduling.leader import LeaderLoop
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.coordinator.scheduling.worker_counts import WorkerCounts

StartLoop = Callable[..., JobScheduler]
THREADS = {"dispatcher", "tracker", "reconciler"}


class ManualLeadership(Leadership):
    """Leadership that a test grants and revokes."""

    def __init__(self) -> None:
        self.granted = threading.Event()
        self.released = False
        self._on_lost: list[Callable[[], None]] = []

    @property
    def term(self) -> int | None:
        return None

    def acquire(self, timeout_secs: float) -> bool:
        return self.granted.wait(0.02)

    def is_leader(self) -> bool:
        return self.granted.is_set()

    def on_lost(self, call: Callable[[], None]) -> None:
        self._on_lost.append(call)

    def release(self) -> None:
        self.released = True

    def revoke(self) -> None:
        self.granted.clear()
        for call in self._on_lost:
            call()


@pytest.fixture
def leadership() -> ManualLeadership:
    return ManualLeadership()


@pytest.fixture
def start_loop(coordinator: CoordinatorFixture, leadership: ManualLeadership) -> Iterator[StartLoop]:
    """Starts a leader loop; returns its scheduler."""
    started: list[LeaderLoop] = []

    def start(repository: Repository = coordinator.repository) -> JobScheduler:
        scheduler = coordinator.make_scheduler(repository=repository)
        started.append(LeaderLoop(scheduler, leadership, retry_secs=0.01))
        started[-1].start()
        return scheduler

    yield start
    for loop in started:
        loop.stop()
    assert leadership.released


def running_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & THREADS


def test_a_follower_dispatches_nothing(
    coordinator: CoordinatorFixture, leadership: ManualLeadership, start_loop: StartLoop
) -> None:
    scheduler = start_loop()
    coordinator.accept_job("a", 1)
    scheduler.wake()
    assert running_threads() == set()
    leadership.granted.set()
    wait_until(lambda: coordinator.get_job("a").queued == 1)
    assert running_threads() == THREADS


def test_a_coordinator_that_lost_leadership_stops_and_can_lead_again(
    coordinator: CoordinatorFixture, leadership: ManualLeadership, start_loop: StartLoop
) -> None:
    scheduler = start_loop()
    leadership.granted.set()
    wait_until(lambda: running_threads() == THREADS)
    leadership.revoke()
    wait_until(lambda: not running_threads())
    coordinator.accept_job("a", 1)
    scheduler.wake()
    assert coordinator.get_job("a").pending == 1
    leadership.granted.set()
    wait_until(lambda: coordinator.get_job("a").queued == 1)


def test_a_new_leader_takes_over_images_in_flight(
    coordinator: CoordinatorFixture, leadership: ManualLeadership, start_loop: StartLoop
) -> None:
    coordinator.accept_job("a", 3)
    coordinator.repository.take_pending("a", 3)
    scheduler = start_loop()
    leadership.granted.set()
    wait_until(lambda: scheduler.progress("a").positions == [(3, 0), (0, 0), (0, 0)])
    coordinator.send_event(coordinator.done("a", 0))
    wait_until(lambda: coordinator.get_job("a").done == 1)
    assert coordinator.get_job("a").queued == 2


def test_a_database_that_is_unreachable_when_leadership_starts_is_retried(
    coordinator: CoordinatorFixture, leadership: ManualLeadership, start_loop: StartLoop
) -> None:
    errors = [UnavailableError("database", "unreachable"), RuntimeError("unexpected")]
    coordinator.accept_job("a", 1)
    start_loop(inject_faults(coordinator.repository, open_jobs=errors))
    leadership.granted.set()
    wait_until(lambda: coordinator.get_job("a").queued == 1)


def test_a_loop_that_was_never_started_can_be_stopped(
    coordinator: CoordinatorFixture, leadership: ManualLeadership
) -> None:
    scheduler = coordinator.make_scheduler()
    LeaderLoop(scheduler, leadership).stop()
    assert leadership.released


def test_a_follower_answers_from_the_leaders_status(coordinator: CoordinatorFixture) -> None:
    follower = coordinator.make_scheduler()
    assert follower.progress("a").positions == []
    job = coordinator.accept_job("a", 2)
    coordinator.in_flight.add_dispatched(job, [(0, 0), (1, 1)])
    coordinator.repository.put_status(coordinator.in_flight.snapshot().to_json())
    wait_until(lambda: follower.progress("a").positions == [(1, 0), (1, 0), (0, 0)])
    steps = {status.name: status for status in follower.steps()}
    assert (steps["resize"].remaining, steps["blur"].remaining) == (1, 2)


def test_workers_are_counted_at_their_queue_and_cached(coordinator: CoordinatorFixture) -> None:
    counts = WorkerCounts(coordinator.broker)
    queue = step_queue("resize")
    consumers = [coordinator.broker.consume([queue], 1) for _ in range(3)]
    assert counts.count("resize") == 3
    for consumer in consumers:
        consumer.close()
    assert counts.count("resize") == 3, "from the cache"
    assert WorkerCounts(coordinator.broker).count("resize") == 0
    assert coordinator.broker.depth(queue) == QueueDepth(0, 0, 0)


class HangingBroker(MemoryBroker):
    """A broker whose `depth` hangs until a test lets it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.may_fail = threading.Event(), threading.Event()

    def depth(self, queue: str) -> QueueDepth:
        self.called.set()
        assert self.may_fail.wait(20)
        raise UnavailableError("broker", "unreachable")


def test_a_request_does_not_wait_for_an_unreachable_broker(coordinator: CoordinatorFixture) -> None:
    counts = WorkerCounts(coordinator.broker)
    coordinator.broker.consume([step_queue("blur")], 1)
    assert (counts.last_known("blur"), counts.last_known("resize")) == (1, 0)
    broker = HangingBroker()
    counts = WorkerCounts(broker)
    waiting = threading.Thread(target=counts.last_known, args=["blur"])
    waiting.start()
    assert broker.called.wait(20)
    assert counts.last_known("blur") == 0, "another thread waits already"
    broker.may_fail.set()
    waiting.join(20)
    assert counts.last_known("blur") == 0, "an unreachable broker is no error"

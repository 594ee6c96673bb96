"""Prometheus sees the coordinator's counters, and the state of its dependencies as far as they answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from prometheus_client import CollectorRegistry
from waiting import wait_until

from penstock.common.broker.base import QueueDepth
from penstock.common.broker.memory import MemoryBroker
from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.metrics import CALL_BOUNDS_SECS
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Calls, Measures, Outcome, StepTime
from penstock.common.settings import BrokerSettings
from penstock.coordinator.api.monitoring.metrics import CounterCollector, SystemCollector
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.scheduler import StepStatus

STEPS = ("resize", "blur", "blur", "encode")


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def registry(counters: Counters) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(CounterCollector(counters))
    return registry


def outcome(*times: tuple[int, float, float], attempts: int = 1) -> Outcome:
    timings = [StepTime(step=step, wait=wait, work=work) for step, wait, work in times]
    return Outcome(id=1, state="done", timings=timings, attempts=attempts)


def test_waiting_and_working_times_are_counted_by_step(counters: Counters, registry: CollectorRegistry) -> None:
    counters.count_images(STEPS, [outcome((0, 0.2, 0.004), (1, 3.0, 0.02), (2, 0.0, 0.03))])
    value = registry.get_sample_value
    assert value("penstock_step_wait_seconds_sum", {"step": "blur"}) == 3.0
    assert value("penstock_step_work_seconds_sum", {"step": "blur"}) == pytest.approx(0.05)
    assert value("penstock_step_work_seconds_count", {"step": "blur"}) == 2
    assert value("penstock_step_wait_seconds_bucket", {"step": "resize", "le": "0.25"}) == 1
    assert value("penstock_step_wait_seconds_bucket", {"step": "resize", "le": "0.1"}) == 0
    assert value("penstock_step_wait_seconds_count", {"step": "encode"}) == 0, "shown from 0 on"


def test_a_timing_of_a_step_outside_the_plan_is_ignored(counters: Counters, registry: CollectorRegistry) -> None:
    counters.count_images(STEPS, [outcome((4, 1.0, 1.0), (-1, 1.0, 1.0), attempts=3)])
    assert counters.work_secs == {}
    assert registry.get_sample_value("penstock_image_attempts_bucket", {"le": "2"}) == 0
    assert registry.get_sample_value("penstock_image_attempts_bucket", {"le": "3"}) == 1


def test_the_workers_counts_add_up_beside_the_coordinators_own(counters: Counters, registry: CollectorRegistry) -> None:
    buckets = [1] * (len(CALL_BOUNDS_SECS) + 1)
    for _ in range(2):
        calls = Calls(what="store.get", buckets=buckets, seconds=60.0, failed=1)
        counters.add_measures(Measures(calls=[calls], chunks={"blur": 5}, redelivered={"blur": 1}))
    counters.own_calls.count_call("store.get", 0.001)
    value = registry.get_sample_value
    worker, own = {"side": "worker", "call": "get"}, {"side": "coordinator", "call": "get"}
    assert value("penstock_store_call_seconds_count", worker) == 2 * len(buckets)
    assert value("penstock_store_call_seconds_sum", worker) == 120.0
    assert value("penstock_store_call_failures_total", worker) == 2
    assert value("penstock_store_call_seconds_count", own) == 1
    assert value("penstock_step_chunks_total", {"step": "blur"}) == 10
    assert value("penstock_step_redelivered_chunks_total", {"step": "blur"}) == 2
    assert value("penstock_step_redelivered_chunks_total", {"step": "resize"}) == 0


def test_the_seconds_that_workers_waited_add_up_by_step(counters: Counters, registry: CollectorRegistry) -> None:
    waited = {"blur": {"store": 1.5, "moon": 1.0}, "encode": {"store": 1.5, "bucket": 2.0}, "job-1f": {"store": 1.0}}
    for _ in range(2):
        counters.add_measures(Measures(waited=waited))
    value = partial(registry.get_sample_value, "penstock_step_waited_seconds_total")
    assert value({"step": "blur", "dependency": "store"}) == 3.0
    assert value({"step": "encode", "dependency": "bucket"}) == 4.0
    assert value({"step": "resize", "dependency": "broker"}) == 0.0
    assert value({"step": "blur", "dependency": "moon"}) is value({"step": "job-1f", "dependency": "store"}) is None


@pytest.mark.parametrize("what", ["store.rm", "disk.get", "store.get.x", ""])
def test_unknown_calls_and_steps_make_no_series(counters: Counters, registry: CollectorRegistry, what: str) -> None:
    before = list(registry.collect())
    calls = Calls(what=what, buckets=[1] * (len(CALL_BOUNDS_SECS) + 1), seconds=1.0)
    counters.add_measures(Measures(calls=[calls], chunks={"job-1f": 1}, redelivered={"job-1f": 1}))
    assert list(registry.collect()) == before


def test_buckets_with_other_bounds_are_ignored(counters: Counters) -> None:
    counters.add_measures(Measures(calls=[Calls(what="store.get", buckets=[1, 2], seconds=1.0)]))
    assert counters.worker_calls == {}


def test_dispatched_chunks_and_images_are_counted(counters: Counters, registry: CollectorRegistry) -> None:
    counters.count_dispatched("resize", 8)
    counters.count_dispatched("resize", 3)
    counters.count_repaired(4)
    counters.is_leader, counters.window_images = True, 96
    value = registry.get_sample_value
    assert value("penstock_dispatched_chunks_total", {"step": "resize"}) == 2
    assert value("penstock_dispatched_images_total", {"step": "resize"}) == 11
    assert value("penstock_repaired_images_total") == 4
    assert (value("penstock_leads"), value("penstock_window_images")) == (1, 96)
    counters.is_leader = False
    assert value("penstock_window_images") == 0, "the window is the leader's"


class UnreachableBroker(MemoryBroker):
    """A broker that refuses every call."""

    def declare(self, queues: Sequence[str]) -> NoReturn:
        raise UnavailableError("broker", "unreachable")


class HangingBroker(MemoryBroker):
    """A broker that answers only after `answer` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.answer = threading.Event()

    def declare(self, queues: Sequence[str]) -> None:
        self.calls += 1
        assert self.answer.wait(30)

    def depth(self, queue: str) -> QueueDepth:
        return QueueDepth(7, 0)


class UnreachableRepository:
    """A database that refuses every query."""

    def count_jobs(self) -> NoReturn:
        raise UnavailableError("database", "unreachable")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[SqlRepository]:
    repository = SqlRepository.sqlite(tmp_path / "penstock.sqlite")
    yield repository
    repository.close()


@pytest.fixture
def sample() -> Callable[..., Callable[..., float | None]]:
    """Call it with the arguments of a SystemCollector to get a function that scrapes one value."""

    def build(
        *arguments: object, steps: Callable[[], list[StepStatus]] = list, **options: object
    ) -> Callable[..., float | None]:
        registry = CollectorRegistry()
        repository, broker, *rest = arguments
        registry.register(SystemCollector(repository, broker, steps, *rest, **options))
        return registry.get_sample_value

    return build


def test_an_unreachable_broker_is_shown_as_down_beside_the_other_metrics(sample, repository, tmp_path):
    value = sample(repository, UnreachableBroker(), tmp_path)
    assert value("penstock_dependency_up", {"dependency": "broker"}) == 0
    assert value("penstock_dependency_up", {"dependency": "database"}) == 1
    assert value("penstock_images_total", {"outcome": "step_crashed"}) == 0, "shown from 0 on"
    assert value("penstock_queue_ready", {"queue": "dead"}) is None
    assert value("penstock_data_free_bytes") <= value("penstock_data_size_bytes")


def test_a_broker_that_hangs_is_asked_once_and_not_waited_for(sample, repository):
    broker = HangingBroker()
    value = sample(repository, broker, timeout_secs=0.05)
    for _ in range(3):
        assert value("penstock_dependency_up", {"dependency": "broker"}) == 0
        assert value("penstock_queue_ready", {"queue": "dead"}) is None
    assert broker.calls == 1
    broker.answer.set()
    wait_until(lambda: value("penstock_dependency_up", {"dependency": "broker"}) == 1)
    assert value("penstock_queue_ready", {"queue": "dead"}) == 7


def test_an_unreachable_rabbitmq_is_shown_as_down_long_before_its_own_timeout(sample, repository):
    broker = RabbitBroker("amqp://127.0.0.1:1/", BrokerSettings(broker_timeout_secs=3_600))
    value = sample(repository, broker, timeout_secs=0.2)
    assert value("penstock_dependency_up", {"dependency": "broker"}) == 0
    broker.close()


def test_an_unreachable_database_is_not_blamed_on_the_broker(sample):
    def steps() -> NoReturn:
        raise UnavailableError("database", "unreachable")

    value = sample(UnreachableRepository(), MemoryBroker(), steps=steps)
    assert value("penstock_dependency_up", {"dependency": "database"}) == 0
    assert value("penstock_dependency_up", {"dependency": "broker"}) == 1
    assert value("penstock_queue_ready", {"queue": "dead"}) == 0
    assert value("penstock_step_ready", {"step": "blur"}) is None
    assert value("penstock_jobs", {"state": "running"}) is None


def test_steps_are_shown_without_the_values_that_were_not_measured(sample, repository):
    value = sample(repository, MemoryBroker(), steps=lambda: [StepStatus("blur", 2, 9, 1, 40)])
    assert value("penstock_step_ready", {"step": "blur"}) == 9
    assert value("penstock_step_seconds_per_item", {"step": "blur"}) is None


def test_a_data_folder_that_is_gone_hides_nothing_else(sample, repository, tmp_path):
    value = sample(repository, MemoryBroker(), tmp_path / "gone")
    assert value("penstock_data_free_bytes") is None
    assert value("penstock_dependency_up", {"dependency": "database"}) == 1


def test_dead_letters_and_waiting_events_are_shown(sample, repository):
    broker = MemoryBroker()
    broker.declare(["penstock.dead"])
    broker.publish("penstock.dead", [b"{}"])
    value = sample(repository, broker)
    assert value("penstock_queue_ready", {"queue": "dead"}) == 1
    assert value("penstock_queue_ready", {"queue": "events"}) == 0
    assert value("penstock_data_free_bytes") is None, "there is no data folder"

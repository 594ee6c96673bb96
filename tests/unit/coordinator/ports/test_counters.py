"""What the coordinator counts, and how Prometheus reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
from penstock.coordinator.api.monitoring.collectors import Counted, System
from penstock.coordinator.ports.counters import Counters

STEPS = ("resize", "blur", "blur", "encode")


@pytest.fixture
def meters() -> Counters:
    return Counters()


@pytest.fixture
def shown(meters: Counters) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Counted(meters))
    return registry


def outcome(*times: tuple[int, float, float], attempts: int = 1) -> Outcome:
    timings = [StepTime(step=step, wait=wait, work=work) for step, wait, work in times]
    return Outcome(id=1, state="done", timings=timings, attempts=attempts)


def test_waits_and_work_are_apart_and_by_step(meters: Counters, shown: CollectorRegistry) -> None:
    meters.count_image(STEPS, outcome((0, 0.2, 0.004), (1, 3.0, 0.02), (2, 0.0, 0.03)))
    value = shown.get_sample_value
    assert value("penstock_step_wait_seconds_sum", {"step": "blur"}) == 3.0
    assert value("penstock_step_work_seconds_sum", {"step": "blur"}) == pytest.approx(0.05)
    assert value("penstock_step_work_seconds_count", {"step": "blur"}) == 2
    assert value("penstock_step_wait_seconds_bucket", {"step": "resize", "le": "0.25"}) == 1
    assert value("penstock_step_wait_seconds_bucket", {"step": "resize", "le": "0.1"}) == 0
    assert value("penstock_step_wait_seconds_count", {"step": "encode"}) == 0, "or its first image would be no increase"


def test_a_timing_of_no_step_of_the_plan_is_passed_over(meters: Counters, shown: CollectorRegistry) -> None:
    meters.count_image(STEPS, outcome((4, 1.0, 1.0), (-1, 1.0, 1.0), attempts=3))
    assert meters.works == {}
    assert shown.get_sample_value("penstock_image_attempts_bucket", {"le": "2"}) == 0
    assert shown.get_sample_value("penstock_image_attempts_bucket", {"le": "3"}) == 1


def test_what_workers_counted_adds_up_beside_the_coordinators_own(meters: Counters, shown: CollectorRegistry) -> None:
    buckets = [1] * (len(CALL_BOUNDS_SECS) + 1)
    for _ in range(2):
        calls = Calls(what="store.get", buckets=buckets, seconds=60.0, failed=1)
        meters.add(Measures(calls=[calls], chunks={"blur": 5}, redelivered={"blur": 1}))
    meters.tally.count_call("store.get", 0.001)
    value = shown.get_sample_value
    worker, own = {"side": "worker", "call": "get"}, {"side": "coordinator", "call": "get"}
    assert value("penstock_store_call_seconds_count", worker) == 2 * len(buckets)
    assert value("penstock_store_call_seconds_sum", worker) == 120.0
    assert value("penstock_store_call_failures_total", worker) == 2
    assert value("penstock_store_call_seconds_count", own) == 1
    assert value("penstock_step_chunks_total", {"step": "blur"}) == 10
    assert value("penstock_step_redelivered_chunks_total", {"step": "blur"}) == 2
    assert value("penstock_step_redelivered_chunks_total", {"step": "resize"}) == 0


@pytest.mark.parametrize("what", ["store.rm", "disk.get", "store.get.x", ""])
def test_nobody_can_make_up_a_series(meters: Counters, shown: CollectorRegistry, what: str) -> None:
    before = list(shown.collect())
    calls = Calls(what=what, buckets=[1] * (len(CALL_BOUNDS_SECS) + 1), seconds=1.0)
    meters.add(Measures(calls=[calls], chunks={"job-1f": 1}, redelivered={"job-1f": 1}))
    assert list(shown.collect()) == before


def test_buckets_by_other_bounds_are_passed_over(meters: Counters) -> None:
    meters.add(Measures(calls=[Calls(what="store.get", buckets=[1, 2], seconds=1.0)]))
    assert meters.calls == {}


def test_dispatch_counts_chunks_and_images(meters: Counters, shown: CollectorRegistry) -> None:
    meters.count_dispatched("resize", 8)
    meters.count_dispatched("resize", 3)
    meters.count_repaired(4)
    meters.leads, meters.window_images = True, 96
    value = shown.get_sample_value
    assert value("penstock_dispatched_chunks_total", {"step": "resize"}) == 2
    assert value("penstock_dispatched_images_total", {"step": "resize"}) == 11
    assert value("penstock_repaired_images_total") == 4
    assert (value("penstock_leads"), value("penstock_window_images")) == (1, 96)
    meters.leads = False
    assert value("penstock_window_images") == 0, "another coordinator has the window now"


class Away:
    """A broker, a database or an engine that does not answer."""

    def __getattr__(self, _: str) -> Any:
        raise UnavailableError("it", "is away")


class Database:
    """One that answers."""

    def count_jobs(self) -> dict[str, int]:
        return {"running": 2}

    def totals(self) -> dict[str, int]:
        return {"done": 5, "corrupt_image": 1}


class Silent:
    """A broker that answers nobody until it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.speaks = threading.Event()

    def declare(self, _queues: Sequence[str]) -> None:
        self.asked += 1
        assert self.speaks.wait(30)

    def depth(self, _queue: str) -> QueueDepth:
        return QueueDepth(7, 0)


def show_system(
    repository: Any, broker: Any, data: Path | None = None, steps: Callable[[], list[Any]] = list
) -> CollectorRegistry:
    registry = CollectorRegistry()
    engine = SimpleNamespace(steps=steps)
    registry.register(System(SimpleNamespace(repository=repository, broker=broker, engine=engine, data=data)))  # type: ignore[arg-type]
    return registry


def test_what_is_away_is_said_to_be_and_the_rest_is_shown(tmp_path: Path) -> None:
    value = show_system(Database(), Away(), tmp_path).get_sample_value
    assert value("penstock_dependency_up", {"dependency": "broker"}) == 0
    assert value("penstock_dependency_up", {"dependency": "database"}) == 1
    assert value("penstock_images_total", {"outcome": "corrupt_image"}) == 1
    assert value("penstock_images_total", {"outcome": "step_crashed"}) == 0, "or the first ones would be no increase"
    assert value("penstock_queue_ready", {"queue": "dead"}) is None
    assert value("penstock_data_free_bytes") <= value("penstock_data_size_bytes")


def test_what_does_not_answer_is_not_waited_for_longer_than_prometheus_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.coordinator.api.monitoring.collectors._PATIENCE_SECS", 0.05)
    broker = Silent()
    value = show_system(Database(), broker).get_sample_value
    for _ in range(3):
        assert value("penstock_dependency_up", {"dependency": "broker"}) == 0
        assert value("penstock_dependency_up", {"dependency": "database"}) == 1
        assert value("penstock_queue_ready", {"queue": "dead"}) is None
    assert broker.asked == 1, "whoever waits for it, one thread is enough"
    broker.speaks.set()
    wait_until(lambda: value("penstock_dependency_up", {"dependency": "broker"}) == 1)
    assert value("penstock_queue_ready", {"queue": "dead"}) == 7


def test_a_rabbitmq_that_is_away_is_said_to_be_long_before_a_call_gives_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.coordinator.api.monitoring.collectors._PATIENCE_SECS", 0.2)
    broker = RabbitBroker("amqp://127.0.0.1:1/", BrokerSettings(broker_timeout_secs=3_600))
    value = show_system(Database(), broker).get_sample_value
    assert value("penstock_dependency_up", {"dependency": "broker"}) == 0
    broker.close()


def test_a_database_that_is_away_is_not_blamed_on_the_broker() -> None:
    def steps() -> list[Any]:
        raise UnavailableError("database", "is away")

    value = show_system(Away(), MemoryBroker(), steps=steps).get_sample_value
    assert value("penstock_dependency_up", {"dependency": "database"}) == 0
    assert value("penstock_dependency_up", {"dependency": "broker"}) == 1
    assert value("penstock_queue_ready", {"queue": "dead"}) == 0
    assert value("penstock_step_ready", {"step": "blur"}) is None


def test_a_data_folder_that_is_gone_hides_nothing_else(tmp_path: Path) -> None:
    value = show_system(Database(), MemoryBroker(), tmp_path / "gone").get_sample_value
    assert value("penstock_data_free_bytes") is None
    assert value("penstock_dependency_up", {"dependency": "database"}) == 1


def test_dead_letters_and_waiting_outcomes_are_shown() -> None:
    broker = MemoryBroker()
    broker.declare(["penstock.dead"])
    broker.publish("penstock.dead", [b"{}"])
    value = show_system(Away(), broker).get_sample_value
    assert value("penstock_queue_ready", {"queue": "dead"}) == 1
    assert value("penstock_queue_ready", {"queue": "events"}) == 0
    assert value("penstock_dependency_up", {"dependency": "database"}) == 0
    assert value("penstock_jobs", {"state": "running"}) is None
    assert value("penstock_data_free_bytes") is None

"""Metrics: the state of database, broker and disk, this coordinator's counters, and its requests, for Prometheus.

Base units, `_total` for counters, no label per job.
"""

import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock import __version__
from penstock.common.broker.base import Broker
from penstock.common.metrics import CALL_BOUNDS_SECS, Histogram
from penstock.common.model.errors import ImageCode
from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE
from penstock.common.registry import operations
from penstock.coordinator.api.monitoring.single_flight import SingleFlight, gather
from penstock.coordinator.api.services import Services
from penstock.coordinator.ports.counters import DEPENDENCIES, WAIT_BOUNDS_SECS, WORK_BOUNDS_SECS, Counters
from penstock.coordinator.ports.repository import Repository
from penstock.coordinator.ports.reserve import Reserve
from penstock.coordinator.ports.scheduler import StepStatus

F = TypeVar("F", GaugeMetricFamily, CounterMetricFamily)

_STEP_GAUGES = (
    ("ready", "ready", "Chunks that wait in a step's queue"),
    ("in_flight", "in_flight", "Chunks that a step's workers hold"),
    ("workers", "workers", "Workers that serve a step"),
    ("waiting_workers", "waiting_workers", "Workers of a step that wait for what cannot be used"),
    ("remaining", "remaining", "Images that have yet to reach a step"),
    ("seconds_per_item", "seconds_per_image", "Service time: seconds of work of one image in a step"),
    ("backlog_seconds", "backlog_seconds", "Work left for a step, in seconds of one worker"),
    ("wanted_workers", "wanted_workers", "Workers that a step should have: for all deadlines and all other work"),
    ("utilisation", "utilisation", "Share of its workers' time that a step works, 0 to 1"),
)
"""Metric, field of `StepStatus`, help text."""

_OUTCOMES = (ImageState.DONE, ImageState.CANCELLED, *ImageCode)
"""Shown from 0 on: Prometheus sees no increase in a series that begins at 1."""

_QUEUES = {"events": EVENTS_QUEUE, "dead": DEAD_LETTER_QUEUE}
SCRAPE_TIMEOUT_SECS = 4.0
"""Less than Prometheus' own timeout (10 s), after which it would have no metrics at all."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class SystemCollector(Collector):
    """Asks database, broker and disk at each scrape. What does not answer in time is left out and shown as down.

    Args:
        data: the data folder whose disk is measured; None: none is.
        reserve: measures the room in store and database.
        timeout_secs: how long a scrape waits for the database and the broker.
    """

    def __init__(
        self,
        repository: Repository,
        broker: Broker,
        steps: Callable[[], list[StepStatus]],
        data: Path | None = None,
        timeout_secs: float = SCRAPE_TIMEOUT_SECS,
        reserve: Reserve | None = None,
    ) -> None:
        self._repository = repository
        self._broker = broker
        self._steps = steps
        self._data = data
        self._timeout_secs = timeout_secs
        self._flights = {
            "database": SingleFlight(lambda: list(self._collect_database())),
            "broker": SingleFlight(lambda: list(self._collect_broker())),
            "steps": SingleFlight(lambda: list(self._collect_steps())),
            "rooms": SingleFlight(lambda: list(_collect_rooms(reserve))),
        }

    def collect(self) -> Iterator[Metric]:
        found = gather(self._flights, self._timeout_secs)
        for metrics in found.values():
            yield from metrics
        up = GaugeMetricFamily("penstock_dependency_up", "Whether database and broker respond", labels=["dependency"])
        for name in ("database", "broker"):
            up.add_metric([name], name in found)
        yield up
        build = GaugeMetricFamily(
            "penstock_build_info", "Versions of Penstock and Python", labels=["version", "python"]
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        if self._data is not None:
            yield from _disk(self._data)

    def _collect_database(self) -> Iterator[Metric]:
        counted = self._repository.count_jobs()
        yield _fill(
            GaugeMetricFamily("penstock_jobs", "Jobs by state", labels=["state"]),
            {state: counted.get(state, 0) for state in JobState},
        )
        totals = dict.fromkeys(map(str, _OUTCOMES), 0) | self._repository.totals()
        yield _fill(
            CounterMetricFamily("penstock_images", "Images that have ended", labels=["outcome"]),
            totals,
        )

    def _collect_broker(self) -> Iterator[Metric]:
        self._broker.declare(list(_QUEUES.values()))
        ready = {name: self._broker.depth(queue).ready for name, queue in _QUEUES.items()}
        yield _fill(
            GaugeMetricFamily(
                "penstock_queue_ready", "Messages that wait in queues other than the steps'", labels=["queue"]
            ),
            ready,
        )

    def _collect_steps(self) -> Iterator[Metric]:
        steps = self._steps()
        for name, field, text in _STEP_GAUGES:
            values = {step.name: getattr(step, field) for step in steps}
            known = {step: value for step, value in values.items() if value is not None}
            yield _fill(GaugeMetricFamily(f"penstock_step_{name}", text, labels=["step"]), known)


class CounterCollector(Collector):
    """Shows what this coordinator has counted while it led."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        counters = self._counters
        yield GaugeMetricFamily("penstock_leads", "Whether this coordinator is the leader", value=counters.is_leader)
        window = counters.window_images if counters.is_leader else 0
        yield GaugeMetricFamily("penstock_window_images", "Images that may be in flight at once", value=window)
        with counters.lock:
            found = [*self._images(), *self._chunks(), *self._waits(), *self._calls()]
        yield from found

    def _images(self) -> Iterator[Metric]:
        counters = self._counters
        for name, text, bounds, counted in (
            ("wait", "Seconds an image waited for a step", WAIT_BOUNDS_SECS, counters.wait_secs),
            ("work", "Seconds a step worked on an image", WORK_BOUNDS_SECS, counters.work_secs),
        ):
            family = HistogramMetricFamily(f"penstock_step_{name}_seconds", text, labels=["step"])
            for step, histogram in {**{step: Histogram(bounds) for step in operations()}, **counted}.items():
                _add_histogram(family, [step], histogram)
            yield family
        attempts = HistogramMetricFamily("penstock_image_attempts", "Attempts until an image ended")
        _add_histogram(attempts, [], counters.attempts)
        yield attempts
        yield CounterMetricFamily(
            "penstock_repaired_images",
            "Images that were requeued because their messages were lost",
            value=counters.repaired_images,
        )

    def _chunks(self) -> Iterator[Metric]:
        counters = self._counters
        for name, text, counted in (
            ("dispatched_chunks", "Chunks dispatched to a step", counters.dispatched_chunks),
            ("dispatched_images", "Images in the chunks dispatched to a step", counters.dispatched_images),
            ("step_chunks", "Chunks that a step's workers received", counters.taken_chunks),
            ("step_redelivered_chunks", "Chunks that were redelivered", counters.redelivered_chunks),
        ):
            by_step = {step: counted[step] for step in operations()}  # from 0 on, as above
            yield _fill(CounterMetricFamily(f"penstock_{name}", text, labels=["step"]), by_step)

    def _waits(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "penstock_step_waited_seconds",
            "Seconds that a step's workers waited for what could not be used",
            labels=["step", "dependency"],
        )
        for step in operations():
            for what in sorted(DEPENDENCIES):
                family.add_metric([step, what], self._counters.waited_secs.get((step, what), 0.0))
        yield family

    def _calls(self) -> Iterator[Metric]:
        labels = ["side", "call"]
        families = {
            port: (
                HistogramMetricFamily(
                    f"penstock_{port}_call_seconds", f"Seconds of a call of the {port}", labels=labels
                ),
                CounterMetricFamily(
                    f"penstock_{port}_call_failures",
                    f"Calls that failed because the {port} was unreachable",
                    labels=labels,
                ),
            )
            for port in ("store", "broker")
        }
        for side, what, histogram, failed in self._each_call():
            port, call = what.split(".")
            seconds, failures = families[port]
            _add_histogram(seconds, [side, call], histogram)
            failures.add_metric([side, call], failed)
        for pair in families.values():
            yield from pair

    def _each_call(self) -> Iterator[tuple[str, str, Histogram, int]]:
        for calls in self._counters.own_calls.read().calls:
            own = Histogram(CALL_BOUNDS_SECS)
            own.add(calls.buckets, calls.seconds)
            yield "coordinator", calls.what, own, calls.failed
        for what, histogram in self._counters.worker_calls.items():
            yield "worker", what, histogram, self._counters.failed_worker_calls[what]


def create_registry(services: Services) -> CollectorRegistry:
    """Return a registry with the metrics of one application."""
    registry = CollectorRegistry()
    registry.register(
        SystemCollector(
            services.repository, services.broker, services.scheduler.steps, services.data, reserve=services.reserve
        )
    )
    registry.register(CounterCollector(services.counters))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class RequestMetrics:
    """Middleware that times every request."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = PrometheusHistogram(
            "penstock_http_request_seconds",
            "Seconds from a request's first byte to the last byte of its answer",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._requests.labels(method, route, str(status)).observe(time.perf_counter() - started)


def _fill(family: F, values: Mapping[str, float]) -> F:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _add_histogram(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.buckets), strict=True)), histogram.sum)


def _collect_rooms(reserve: Reserve | None) -> Iterator[Metric]:
    rooms = {} if reserve is None else reserve.rooms()
    yield _fill(
        GaugeMetricFamily(
            "penstock_room_free_bytes", "Free bytes on the volume of store or database", labels=["dependency"]
        ),
        {name: room.free_bytes for name, room in rooms.items()},
    )
    yield _fill(
        GaugeMetricFamily(
            "penstock_room_reserve_bytes", "Free bytes below which uploads and jobs are refused", labels=["dependency"]
        ),
        {name: room.reserve_bytes for name, room in rooms.items()},
    )


def _disk(folder: Path) -> Iterator[Metric]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return
    yield GaugeMetricFamily("penstock_data_free_bytes", "Free bytes on the data folder's disk", value=usage.free)
    yield GaugeMetricFamily("penstock_data_size_bytes", "Size of the data folder's disk in bytes", value=usage.total)

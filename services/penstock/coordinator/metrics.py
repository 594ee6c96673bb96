"""What Prometheus sees: requests by route, jobs by state, images by outcome, steps by backlog."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.common.jobs import JobState
from penstock.coordinator.services import Services

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """One application's metrics, in a registry of their own."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Collected(services))
        self._requests = Histogram(
            "penstock_http_request_seconds",
            "Seconds from a request's first byte to its answer's last",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is its template, never its path."""
        label = method if method in _METHODS else "other"
        self._requests.labels(label, route, str(status)).observe(seconds)


class RequestMetrics:
    """Middleware that times every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(scope["method"], route, status, time.perf_counter() - started)


class _Collected(Collector):
    """What others count already, read when Prometheus asks."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield self._jobs()
        yield self._images()
        yield from self._steps()

    def _jobs(self) -> Metric:
        counted = self._services.repository.count_jobs()
        metric = GaugeMetricFamily("penstock_jobs", "Jobs by state", labels=["state"])
        for state in JobState:
            metric.add_metric([state.value], counted.get(state, 0))
        return metric

    def _images(self) -> Metric:
        metric = CounterMetricFamily("penstock_images", "Images that ever ended", labels=["outcome"])
        for outcome, count in self._services.repository.totals().items():
            metric.add_metric([outcome], count)
        return metric

    def _steps(self) -> Iterator[Metric]:
        steps = self._services.engine.steps()
        for field, text in _STEP_GAUGES.items():
            metric = GaugeMetricFamily(f"penstock_step_{field}", text, labels=["step"])
            for step in steps:
                value = getattr(step, field)
                if value is not None:
                    metric.add_metric([step.name], value)
            yield metric


_STEP_GAUGES = {
    "ready": "Chunks that wait in a step's queue",
    "in_flight": "Chunks that a step's workers hold",
    "remaining": "Images that will still reach a step",
    "seconds_per_image": "Work that one image takes in a step",
    "backlog_seconds": "Work that is left for a step, as one worker would take for it",
    "utilisation": "Share of its workers' time that a step works, 0 to 1",
}

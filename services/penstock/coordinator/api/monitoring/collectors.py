"""What is counted elsewhere, as Prometheus wants it: base units, `_total` for what only grows, no label per job."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import accumulate
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock import __version__
from penstock.common.metrics import CALL_BOUNDS_SECS, Histogram
from penstock.common.model.errors import ImageCode, UnavailableError
from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE
from penstock.common.registry import operations
from penstock.coordinator.api.monitoring.single_flight import SingleFlight
from penstock.coordinator.api.services import Services
from penstock.coordinator.ports.counters import WAIT_BOUNDS_SECS, WORK_BOUNDS_SECS, Counters

_STEP_GAUGES = (
    ("ready", "ready", "Chunks that wait in a step's queue"),
    ("in_flight", "in_flight", "Chunks that a step's workers hold"),
    ("workers", "workers", "Workers that take from a step's queue"),
    ("remaining", "remaining", "Images that will still reach a step"),
    ("seconds_per_item", "seconds_per_image", "Work that one image takes in a step"),
    ("backlog_seconds", "backlog_seconds", "Work that is left for a step, as one worker would take for it"),
    ("utilisation", "utilisation", "Share of its workers' time that a step works, 0 to 1"),
)
"""What each is called here, and in `StepStatus`."""

_OUTCOMES = (ImageState.DONE, ImageState.CANCELLED, *ImageCode)
"""Those that are shown from 0 on, or the first images to end so would be no increase."""

_QUEUES = {"events": EVENTS_QUEUE, "dead": DEAD_LETTER_QUEUE}
_PATIENCE_SECS = 4.0
"""Less than Prometheus waits (10 s), or all metrics would be gone with what is away."""


class System(Collector):
    """What database, broker and disk tell when they are asked. What is away is left out, and said to be away."""

    def __init__(self, services: Services) -> None:
        self._services = services
        asked = {"database": self._database, "broker": self._broker, "steps": self._steps}
        self._asked = {name: SingleFlight(partial(_list, collect)) for name, collect in asked.items()}

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        until = time.monotonic() + _PATIENCE_SECS
        answers = {name: question.ask() for name, question in self._asked.items()}
        found = {name: _wait(answer, until) for name, answer in answers.items()}
        for metrics in found.values():
            yield from metrics or ()
        up = GaugeMetricFamily("penstock_dependency_up", "Whether database and broker answer", labels=["dependency"])
        for name in ("database", "broker"):
            up.add_metric([name], found[name] is not None)
        yield up
        yield _info("penstock_build", "Which Penstock this is", version=__version__, python=platform.python_version())
        if self._services.data is not None:
            yield from _disk(self._services.data)

    def _database(self) -> Iterator[Metric]:
        counted = self._services.repository.count_jobs()
        jobs = GaugeMetricFamily("penstock_jobs", "Jobs by state", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], counted.get(state, 0))
        yield jobs
        images = CounterMetricFamily("penstock_images", "Images that ever ended", labels=["outcome"])
        totals = dict.fromkeys(map(str, _OUTCOMES), 0) | self._services.repository.totals()
        for outcome, count in totals.items():
            images.add_metric([outcome], count)
        yield images

    def _broker(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "penstock_queue_ready", "Messages that wait beside the steps' queues", labels=["queue"]
        )
        self._services.broker.declare(list(_QUEUES.values()))
        for name, queue in _QUEUES.items():
            ready.add_metric([name], self._services.broker.depth(queue).ready)
        yield ready

    def _steps(self) -> Iterator[Metric]:
        """Return what it takes both to know."""
        steps = self._services.engine.steps()
        for name, field, text in _STEP_GAUGES:
            values = {step.name: getattr(step, field) for step in steps}
            known = {step: value for step, value in values.items() if value is not None}
            yield _by_label(GaugeMetricFamily(f"penstock_step_{name}", text, labels=["step"]), known)


class Counted(Collector):
    """What a coordinator's meters have counted while it led."""

    def __init__(self, meters: Counters) -> None:
        self._meters = meters

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        meters = self._meters
        yield GaugeMetricFamily("penstock_leads", "Whether this coordinator leads", value=meters.leads)
        window = meters.window_images if meters.leads else 0
        yield GaugeMetricFamily("penstock_window_images", "Images that may be under way at once", value=window)
        with meters.lock:
            found = [*self._images(), *self._chunks(), *self._calls()]
        yield from found

    def _images(self) -> Iterator[Metric]:
        meters = self._meters
        for name, text, bounds, counted in (
            ("wait", "Seconds an image waited for a step", WAIT_BOUNDS_SECS, meters.waits),
            ("work", "Seconds a step worked on an image", WORK_BOUNDS_SECS, meters.works),
        ):
            family = HistogramMetricFamily(f"penstock_step_{name}_seconds", text, labels=["step"])
            for step, histogram in {**{step: Histogram(bounds) for step in operations()}, **counted}.items():
                _add_histogram(family, [step], histogram)
            yield family
        attempts = HistogramMetricFamily("penstock_image_attempts", "How often an image was started until it ended")
        _add_histogram(attempts, [], meters.attempts)
        yield attempts
        yield CounterMetricFamily(
            "penstock_repaired_images", "Images that were lost under way and sent again", value=meters.repaired_images
        )

    def _chunks(self) -> Iterator[Metric]:
        meters = self._meters
        for name, text, counted in (
            ("dispatched_chunks", "Chunks the coordinator sent to a step", meters.dispatched_chunks),
            ("dispatched_images", "Images in the chunks the coordinator sent to a step", meters.dispatched_images),
            ("step_chunks", "Chunks that a step's workers took", meters.taken_chunks),
            ("step_redelivered_chunks", "Chunks that were delivered again", meters.redelivered_chunks),
        ):
            each = {step: counted[step] for step in operations()}  # from 0, or the first one would be no increase
            yield _by_label(CounterMetricFamily(f"penstock_{name}", text, labels=["step"]), each)

    def _calls(self) -> Iterator[Metric]:
        families = {port: _call_families(port) for port in ("store", "broker")}
        for side, what, histogram, failed in self._each_call():
            port, call = what.split(".")
            seconds, failures = families[port]
            _add_histogram(seconds, [side, call], histogram)
            failures.add_metric([side, call], failed)
        for pair in families.values():
            yield from pair

    def _each_call(self) -> Iterator[tuple[str, str, Histogram, int]]:
        for calls in self._meters.tally.read().calls:
            own = Histogram(CALL_BOUNDS_SECS)
            own.add(calls.buckets, calls.seconds)
            yield "coordinator", calls.what, own, calls.failed
        for what, histogram in self._meters.calls.items():
            yield "worker", what, histogram, self._meters.failed_calls[what]


def _call_families(port: str) -> tuple[HistogramMetricFamily, CounterMetricFamily]:
    labels = ["side", "call"]
    return (
        HistogramMetricFamily(
            f"penstock_{port}_call_seconds", f"Seconds that a call of the {port} took", labels=labels
        ),
        CounterMetricFamily(f"penstock_{port}_call_failures", f"Calls that found the {port} away", labels=labels),
    )


def _by_label(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]
) -> GaugeMetricFamily | CounterMetricFamily:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _add_histogram(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.buckets), strict=True)), histogram.sum)


def _info(name: str, text: str, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"{name}_info", text, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _disk(folder: Path) -> Iterator[Metric]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return
    yield GaugeMetricFamily("penstock_data_free_bytes", "Bytes free where the data folder lies", value=usage.free)
    yield GaugeMetricFamily("penstock_data_size_bytes", "Bytes there are where the data folder lies", value=usage.total)


def _list(collect: Callable[[], Iterator[Metric]]) -> list[Metric]:
    return list(collect())


def _wait(answer: Future[list[Metric]], until: float) -> list[Metric] | None:
    """Return an answer; None where it is away, or has not answered until then."""
    with suppress(UnavailableError, TimeoutError):
        return answer.result(max(0.0, until - time.monotonic()))
    return None

"""OpenTelemetry tracing, exported by OTLP over HTTP. The exporter reads the `OTEL_…` variables itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import time

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from penstock import __version__
from penstock.common.tracing.base import UNTRACED, Trace, Tracing, Value

_CLOSE_SECS = 2.0
_PROPAGATOR = TraceContextTextMapPropagator()


class OtlpTracing(Tracing):
    """Exports traces; the share `ratio` of the traces that start here is sampled."""

    def __init__(self, component: str, ratio: float) -> None:
        resource = Resource.create({"service.name": f"penstock-{component}", "service.version": __version__})
        sampler = ParentBased(TraceIdRatioBased(ratio))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("penstock", __version__)

    def start_trace(self, name: str, **attributes: Value) -> Trace:
        return self._start(Context(), name, attributes)

    def continue_trace(self, traceparent: str | None, name: str, **attributes: Value) -> Trace:
        if traceparent is None:
            return UNTRACED
        context = _PROPAGATOR.extract({"traceparent": traceparent}, Context())
        is_valid = otel.get_current_span(context).get_span_context().is_valid
        return self._start(context, name, attributes) if is_valid else UNTRACED

    def _start(self, context: Context, name: str, attributes: dict[str, Value]) -> Trace:
        span = self._tracer.start_span(name, context, attributes=_prefix(attributes))
        return _RecordedSpan(self._tracer, context, span) if span.is_recording() else UNTRACED

    def close(self) -> None:
        flushing = threading.Thread(target=self._provider.force_flush, daemon=True)  # it has no time limit
        flushing.start()
        flushing.join(_CLOSE_SECS)


class _RecordedSpan(Trace):
    def __init__(self, tracer: otel.Tracer, parent: Context, span: otel.Span) -> None:
        self._tracer = tracer
        self._parent = parent
        self._span = span
        self._context = otel.set_span_in_context(span, Context())
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._context)
        self.traceparent = carrier.get("traceparent")

    @contextmanager
    def span(self, name: str, **attributes: Value) -> Iterator[object]:
        span = self.start_span(name, **attributes)
        try:
            yield span
        except Exception as error:
            span.record_error(error)
            raise
        finally:
            span.end()

    def start_span(self, name: str, **attributes: Value) -> Trace:
        span = self._tracer.start_span(name, self._context, attributes=_prefix(attributes))
        return _RecordedSpan(self._tracer, self._context, span)

    def record_wait(self, name: str, since: float) -> None:
        now = time()
        started = int(min(since, now) * 1e9)  # hosts' clocks differ
        self._tracer.start_span(name, self._parent, start_time=started).end(int(now * 1e9))

    def record_error(self, error: Exception) -> None:
        self._span.record_exception(error)
        self._span.set_status(otel.StatusCode.ERROR, str(error) or type(error).__name__)

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()


def _prefix(attributes: dict[str, Value]) -> dict[str, Value]:
    return {f"penstock.{name}": value for name, value in attributes.items()}

"""Traces by OpenTelemetry, sent by OTLP over HTTP. Its exporter reads `OTEL_…` variables by itself."""

from __future__ import annotations

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
from penstock.common.tracing.base import UNTRACED, Trace, Value

_CLOSE_SECS = 2.0
_PROPAGATOR = TraceContextTextMapPropagator()


class OtlpTracing:
    """`Tracing` by OpenTelemetry; a share `ratio` of the traces that begin here is recorded."""

    def __init__(self, component: str, ratio: float) -> None:
        resource = Resource.create({"service.name": f"penstock-{component}", "service.version": __version__})
        sampler = ParentBased(TraceIdRatioBased(ratio))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("penstock", __version__)

    def start(self, name: str, **attributes: Value) -> Trace:
        return self._begin(Context(), name, attributes)

    def follow(self, traceparent: str | None, name: str, **attributes: Value) -> Trace:
        if traceparent is None:
            return UNTRACED
        context = _PROPAGATOR.extract({"traceparent": traceparent}, Context())
        known = otel.get_current_span(context).get_span_context().is_valid  # what cannot be read begins no trace
        return self._begin(context, name, attributes) if known else UNTRACED

    def _begin(self, context: Context, name: str, attributes: dict[str, Value]) -> Trace:
        span = self._tracer.start_span(name, context, attributes=_named(attributes))
        return _Recorded(self._tracer, context, span) if span.is_recording() else UNTRACED

    def close(self) -> None:
        flushing = threading.Thread(target=self._provider.force_flush, daemon=True)  # it knows no time limit
        flushing.start()
        flushing.join(_CLOSE_SECS)


class _Recorded:
    """A sampled span."""

    def __init__(self, tracer: otel.Tracer, parent: Context, span: otel.Span) -> None:
        self._tracer = tracer
        self._parent = parent
        self._span = span
        self._context = otel.set_span_in_context(span, Context())
        self.traceparent: str | None = _write_traceparent(self._context)

    @contextmanager
    def span(self, name: str, **attributes: Value) -> Iterator[object]:
        part = self.begin(name, **attributes)
        try:
            yield part
        except Exception as error:
            part.fail(error)
            raise
        finally:
            part.end()

    def begin(self, name: str, **attributes: Value) -> Trace:
        span = self._tracer.start_span(name, self._context, attributes=_named(attributes))
        return _Recorded(self._tracer, self._context, span)

    def waited(self, name: str, since: float) -> None:
        now = time()
        began = int(min(since, now) * 1e9)  # hosts' clocks differ
        self._tracer.start_span(name, self._parent, start_time=began).end(int(now * 1e9))

    def fail(self, error: Exception) -> None:
        self._span.record_exception(error)
        self._span.set_status(otel.StatusCode.ERROR, str(error) or type(error).__name__)

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()


def _write_traceparent(context: Context) -> str | None:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context)
    return carrier.get("traceparent")


def _named(attributes: dict[str, Value]) -> dict[str, Value]:
    return {f"penstock.{name}": value for name, value in attributes.items()}

"""Tracing: one trace for each sampled chunk, from its dispatch through every queue to its results.

The code depends on this module only, and untraced work costs next to nothing. The coordinator decides which chunks are
traced; workers continue the trace in the message's `traceparent`.
"""

from contextlib import AbstractContextManager, nullcontext

from penstock.common.settings import SettingsError, TracingSettings, load

Value = str | int


class Trace:
    """A span of a trace, such as the work on one chunk. May be used from any thread. This one records nothing."""

    traceparent: str | None = None
    """Lets another process continue the trace (W3C Trace Context); None if nothing is traced."""

    def span(self, name: str, **attributes: Value) -> AbstractContextManager[object]:  # noqa: ARG002
        """Record a child span for the duration of a context, with an exception that leaves it."""
        return _NO_SPAN

    def start_span(self, name: str, **attributes: Value) -> "Trace":  # noqa: ARG002
        """Start a child span, to be ended by its `end` on any thread."""
        return self

    def record_wait(self, name: str, since: float) -> None:
        """Record a sibling span from `since` (seconds since the epoch) until now, for the time in a queue."""

    def record_error(self, error: Exception) -> None:
        """Record an error, and mark the span as failed."""

    def end(self) -> None:
        """End the span. Only the first call has an effect."""


class Tracing:
    """Starts and continues traces. This one records nothing."""

    def start_trace(self, name: str, **attributes: Value) -> "Trace":  # noqa: ARG002
        """Start a trace, if it is sampled."""
        return UNTRACED

    def continue_trace(self, traceparent: str | None, name: str, **attributes: Value) -> "Trace":  # noqa: ARG002
        """Continue the trace of a message, if there is one and it is sampled."""
        return UNTRACED

    def close(self) -> None:
        """Export what is pending, within a short time limit."""


_NO_SPAN = nullcontext()
UNTRACED = Trace()
NO_TRACING = Tracing()


def open_tracing(component: str) -> Tracing:
    """Return the tracing of this process. OpenTelemetry is imported only if an endpoint is configured.

    Raises:
        SettingsError: the endpoint is not an HTTP URL, or OpenTelemetry is not installed.
    """
    settings = load(TracingSettings)
    if settings.otlp_endpoint is None:
        return NO_TRACING
    variable = f"OTEL_EXPORTER_OTLP_ENDPOINT={settings.otlp_endpoint}"
    if not settings.otlp_endpoint.startswith(("http://", "https://")):
        raise SettingsError("invalid_settings", f"{variable}: accepted are http:// and https:// URLs")
    try:
        from penstock.common.tracing.otlp import OtlpTracing
    except ModuleNotFoundError as error:
        raise SettingsError(
            "invalid_settings", f"{variable}: {error.name} is not installed; pip install 'penstock[tracing]'"
        ) from error
    return OtlpTracing(component, settings.trace_ratio)

"""Traces: one for a sampled chunk, from its dispatch through every queue to its results.

This module is what the code speaks to, and costs next to nothing. OpenTelemetry is loaded only where an endpoint is
configured; the coordinator decides which chunks are traced, and workers follow the `traceparent` of the message.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from penstock.common.settings import SettingsError, TracingSettings, load

Value = str | int


class Trace(Protocol):
    """One piece of work within a trace, and what is done in the course of it. May be used from any thread."""

    traceparent: str | None
    """What a message carries, for others to go on with the trace (W3C); None where nothing is traced."""

    def span(self, name: str, **attributes: Value) -> AbstractContextManager[object]:
        """Time a part of the work; an exception that leaves it is recorded."""

    def begin(self, name: str, **attributes: Value) -> Trace:
        """Begin a part of the work that `end` ends, on whichever thread."""

    def waited(self, name: str, since: float) -> None:
        """Record that it was waited for since a time (seconds since the epoch) until it began."""

    def fail(self, error: Exception) -> None:
        """Record an error, and that the work has failed."""

    def end(self) -> None:
        """The work has ended. A second time does nothing."""


class Tracing(Protocol):
    """Where traces begin, or go on."""

    def start(self, name: str, **attributes: Value) -> Trace:
        """Begin a trace, should the sampling choose it."""

    def follow(self, traceparent: str | None, name: str, **attributes: Value) -> Trace:
        """Go on with the trace that a message belongs to, if it does to a sampled one."""

    def close(self) -> None:
        """Send what has not been sent yet, for a moment at most."""


class Untraced:
    """A `Trace` of nothing."""

    traceparent: str | None = None

    def span(self, name: str, **attributes: Value) -> AbstractContextManager[object]:  # noqa: ARG002
        return _NOTHING

    def begin(self, name: str, **attributes: Value) -> Trace:  # noqa: ARG002
        return self

    def waited(self, name: str, since: float) -> None:
        """Nobody asks."""

    def fail(self, error: Exception) -> None:
        """Nobody asks."""

    def end(self) -> None:
        """Nothing was begun."""


class NoTracing:
    """`Tracing` where no endpoint is configured."""

    def start(self, name: str, **attributes: Value) -> Trace:  # noqa: ARG002
        return UNTRACED

    def follow(self, traceparent: str | None, name: str, **attributes: Value) -> Trace:  # noqa: ARG002
        return UNTRACED

    def close(self) -> None:
        """Nothing is open."""


_NOTHING = nullcontext()
UNTRACED: Trace = Untraced()
NO_TRACING: Tracing = NoTracing()


def open_tracing(component: str, settings: TracingSettings | None = None) -> Tracing:
    """Return what traces this process's work as the settings say.

    Raises:
        SettingsError: an endpoint is configured that is none of HTTP, or OpenTelemetry is not installed.
    """
    settings = load(TracingSettings) if settings is None else settings
    if settings.otlp_endpoint is None:
        return NO_TRACING
    named = f"OTEL_EXPORTER_OTLP_ENDPOINT={settings.otlp_endpoint}"
    if not settings.otlp_endpoint.startswith(("http://", "https://")):
        raise SettingsError("invalid_settings", f"{named}: accepted are http:// and https:// URLs")
    try:
        from penstock.common.tracing.otlp import OtlpTracing
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed; penstock[tracing] brings it"
        raise SettingsError("invalid_settings", f"{named}: {missing}") from error
    return OtlpTracing(component, settings.trace_ratio)

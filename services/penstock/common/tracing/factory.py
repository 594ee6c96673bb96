"""Opens tracing as the settings say. OpenTelemetry is imported only if an endpoint is configured."""

from __future__ import annotations

from penstock.common.settings import SettingsError, TracingSettings, load
from penstock.common.tracing.base import NO_TRACING, Tracing


def open_tracing(component: str, settings: TracingSettings | None = None) -> Tracing:
    """Return the tracing of this process.

    Raises:
        SettingsError: the endpoint is not an HTTP URL, or OpenTelemetry is not installed.
    """
    settings = load(TracingSettings) if settings is None else settings
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

"""Opening tracing: only with an endpoint, which must be an HTTP URL."""

from __future__ import annotations

import pytest

from penstock.common.settings import SettingsError
from penstock.common.tracing.base import NO_TRACING, open_tracing

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BASE, raising=False)
    monkeypatch.delenv(TRACES, raising=False)


@pytest.mark.parametrize("name", [BASE, TRACES])
def test_an_empty_endpoint_means_no_tracing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert open_tracing("worker") is NO_TRACING


def test_an_empty_endpoint_does_not_hide_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, "")
    monkeypatch.setenv(TRACES, "http://127.0.0.1:9/v1/traces")
    tracing = open_tracing("worker")
    assert tracing is not NO_TRACING
    tracing.close()


@pytest.mark.parametrize("endpoint", ["collector:4317", "grpc://collector:4317", "unix:///collector"])
def test_an_endpoint_that_is_not_an_http_url_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, endpoint)
    with pytest.raises(SettingsError, match=f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: accepted are http"):
        open_tracing("worker")

"""A server on loopback, open to this host: what a page whose name leads here after all (DNS rebinding) gets of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def coordinator(serve: Callable[..., Any]) -> Any:
    """One that serves whoever is on this host."""
    return serve(loopback_only=True)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example.",
        "[::1",
        ":80",
    ],
)
def test_a_name_of_another_site_reads_and_changes_nothing(coordinator: Any, host: str) -> None:
    for method, path in (("GET", "/v1/jobs"), ("GET", "/static/"), ("POST", "/v1/uploads"), ("GET", "/")):
        answer = coordinator.http.request(method, path, headers={"Host": host, "Origin": f"http://{host}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_host"), (method, path)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "app.localhost:80", "127.0.0.1", "[::1]:8080", "10.0.0.7"]
)
def test_this_hosts_own_names_and_addresses_are_served(coordinator: Any, host: str) -> None:
    assert coordinator.http.get("/v1/jobs", headers={"Host": host}).status_code == 200
    own = {"Host": host, "Origin": f"http://{host}"}
    assert coordinator.http.post("/v1/uploads", headers=own).status_code == 201


def test_a_request_of_before_there_was_a_host_header_is_served(coordinator: Any) -> None:
    status, body = coordinator.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (status, json.loads(body)["status"]) == (200, "alive")


def test_a_server_that_is_open_or_asks_for_keys_has_whatever_name_it_is_given(serve: Callable[..., Any]) -> None:
    assert serve().http.get("/v1/jobs", headers={"Host": "penstock.example"}).status_code == 200

"""A server without keys on loopback refuses foreign host names (DNS rebinding)."""

from __future__ import annotations

import json

import pytest
from api_server import ApiServer, Serve


@pytest.fixture
def coordinator(serve: Serve) -> ApiServer:
    """A REST API for this host only."""
    return serve(loopback_only=True)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example.",
    ],
)
def test_a_foreign_host_name_is_refused(coordinator: ApiServer, host: str) -> None:
    for method, path in (("GET", "/v1/jobs"), ("GET", "/static/"), ("POST", "/v1/uploads"), ("GET", "/")):
        answer = coordinator.http.request(method, path, headers={"Host": host, "Origin": f"http://{host}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_host"), (method, path)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "app.localhost:80", "127.0.0.1", "[::1]:8080", "10.0.0.7"]
)
def test_loopback_names_and_addresses_are_served(coordinator: ApiServer, host: str) -> None:
    assert coordinator.http.get("/v1/jobs", headers={"Host": host}).status_code == 200
    own = {"Host": host, "Origin": f"http://{host}"}
    assert coordinator.http.post("/v1/uploads", headers=own).status_code == 201


def test_a_request_without_a_host_header_is_served(coordinator: ApiServer) -> None:
    status, body = coordinator.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (status, json.loads(body)["status"]) == (200, "alive")


def test_an_open_server_or_one_with_keys_accepts_any_host_name(serve: Serve) -> None:
    assert serve().http.get("/v1/jobs", headers={"Host": "penstock.example"}).status_code == 200

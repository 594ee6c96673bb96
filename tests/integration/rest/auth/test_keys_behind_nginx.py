"""API keys behind nginx: files only for their owners, and cookies that fit the browser's scheme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from api_server import AppSwitch, Serve
from nginx_server import NginxServer, running_nginx

from penstock.coordinator.auth.keys import Keys, make_key

MADE = {name: make_key(name) for name in ("delft", "gouda")}
KEYS = Keys([key for _, key in MADE.values()])


@pytest.fixture(scope="module")
def nginx(
    switch: AppSwitch, tmp_path_factory: pytest.TempPathFactory, without_service: Callable[[str], NoReturn]
) -> Iterator[NginxServer]:
    """nginx in front of this module's APIs."""
    volume = tmp_path_factory.getbasetemp()
    with running_nginx(volume, coordinator=f"127.0.0.1:{switch.port}") as server:
        if server is None:
            without_service("nginx is not installed, and there is no Docker or no image of it (see CONTRIBUTING.md)")
        yield server


@pytest.fixture
def front(serve: Serve, nginx: NginxServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client without a key, for a REST API with keys whose store is on nginx's volume."""
    serve(keys=KEYS, accel_prefix=f"/internal-store/{tmp_path.relative_to(nginx.volume)}/store/")
    with httpx.Client(base_url=nginx.front_url, timeout=20) as http:
        yield http


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {MADE[name][0]}"}


def test_nginx_sends_a_file_to_its_owner_only(front, tmp_path, jpeg):
    data = {"job": '{"operations": [["blur", "median"]]}'}
    job = front.post("/v1/jobs", data=data, files=[("files", ("a.jpg", jpeg))], headers=bearer("delft")).json()["id"]
    path = f"/static/{job}/sent/a.jpg"
    assert [front.get(path, headers=headers).status_code for headers in ({}, bearer("gouda"))] == [401, 404]
    mine = front.get(path, headers=bearer("delft"))
    assert (mine.content, mine.headers["server"]) == (jpeg, "nginx")
    inside = front.get(f"/internal-store/{tmp_path.name}/store/uploads/", headers=bearer("delft"))
    assert inside.status_code == 404


def test_metrics_and_backlog_need_a_key_behind_nginx(front):
    for path in ("/metrics", "/v1/backlog?steps=blur"):
        assert (front.get(path).status_code, front.get(path, headers=bearer("delft")).status_code) == (401, 200)


def test_a_large_body_without_a_key_is_refused_with_a_reason(front):
    answer = front.post("/v1/uploads/x/files/y", content=b"x" * 3_000_000)
    assert answer.status_code == 405
    answer = front.put(f"/v1/uploads/{'0' * 26}/files/y", content=b"x" * 3_000_000)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="penstock"'


@pytest.mark.parametrize(("headers", "secure"), [({}, False), ({"X-Forwarded-Proto": "https"}, True)])
def test_the_cookie_is_secure_if_the_browser_uses_https(front, headers, secure):
    token = MADE["delft"][0]
    answer = front.post("/session", json={"key": token}, headers={**headers, "Origin": str(front.base_url).rstrip("/")})
    assert answer.status_code == 200
    assert ("secure" in answer.headers["set-cookie"].lower()) is secure

"""The REST API behind nginx with the configuration of real installations."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from api_server import ApiServer, AppSwitch, Serve
from nginx_server import NginxServer, running_nginx
from waiting import wait_until

COMPOSE = Path(__file__).resolve().parents[4] / "compose" / "nginx"
SENT_BY = {"X-Penstock-Front": "accel"}


@pytest.fixture(scope="module")
def nginx(
    switch: AppSwitch, tmp_path_factory: pytest.TempPathFactory, without_service: Callable[[str], NoReturn]
) -> Iterator[NginxServer]:
    """nginx in front of this module's APIs, with the limits of the compose installation."""
    volume = tmp_path_factory.getbasetemp()
    limits, front = ((COMPOSE / name).read_text() for name in ("limits.conf", "front.conf"))
    front += "client_max_body_size 3m;"
    with running_nginx(volume, coordinator=f"127.0.0.1:{switch.port}", limits=limits, front=front) as server:
        if server is None:
            without_service("nginx is not installed, and there is no Docker or no image of it (see CONTRIBUTING.md)")
        yield server


@pytest.fixture
def direct(serve: Serve, nginx: NginxServer, tmp_path: Path) -> ApiServer:
    """A REST API whose store is on nginx's volume."""
    return serve(accel_prefix=f"/internal-store/{tmp_path.relative_to(nginx.volume)}/store/")


@pytest.fixture
def front(direct: ApiServer, nginx: NginxServer) -> Iterator[ApiServer]:
    """The same REST API through nginx."""
    with httpx.Client(base_url=nginx.front_url, timeout=20) as http:
        yield replace(direct, http=http, port=nginx.front_port)


@pytest.fixture
def ended(front: ApiServer, jpeg: bytes) -> dict[str, Any]:
    """A finished job with one image and one result under an unusual name."""
    job: dict[str, Any] = front.submit(["50% é+#?.jpg"], jpeg)
    front.scheduler.finish(job["id"])
    return job


def urls_of(front: ApiServer, job: str) -> list[str]:
    """Return the URLs of all files of a job."""
    folders = [f"/static/{job}/{name}/" for name in ("sent", "processed")]
    listed = [front.http.get(folder, headers={"Accept": "application/json"}).json()["files"] for folder in folders]
    return [file["url"] for files in listed for file in files]


def test_the_coordinator_lets_nginx_send_a_file(direct: ApiServer, ended: dict[str, Any]) -> None:
    for url in urls_of(direct, ended["id"]):
        answer = direct.http.get(url, headers=SENT_BY)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["x-accel-redirect"].startswith("/internal-store/")
        assert direct.http.get(url).content, "without nginx, the coordinator sends the bytes itself"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"Range": "bytes=2-9"},
        {"Range": "bytes=-5"},
        {"Range": "bytes=3-"},
        {"Range": "bytes=0-1,4-5"},
        {"Range": "bytes=1000000-"},
        {"Range": "bytes=2-9", "If-Range": '"other"'},
        {"Range": "bytes=2-9", "If-Range": "{etag}"},
        {"If-None-Match": "{etag}"},
        {"If-None-Match": '"other"'},
        {"If-Modified-Since": "Sun, 22 Nov 2099 00:00:00 GMT"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_is_the_same_from_nginx_and_from_the_coordinator(
    direct: ApiServer, front: ApiServer, ended: dict[str, Any], method: str, asked: dict[str, str]
) -> None:
    for url in urls_of(front, ended["id"]):
        etag = direct.http.head(url).headers["etag"]
        headers = {name: value.format(etag=etag) for name, value in asked.items()}
        answers = [each.http.request(method, url, headers=headers) for each in (direct, front)]
        passing = {"server", "date", "connection"}
        said = [{key: value for key, value in answer.headers.items() if key not in passing} for answer in answers]
        if answers[0].status_code == 206:  # which says of itself that parts are to be had
            del said[0]["accept-ranges"]
        assert said[0] == said[1]
        assert answers[0].status_code == answers[1].status_code
        assert answers[0].content == answers[1].content


def test_nginx_shows_nothing_that_the_coordinator_does_not(front: ApiServer, ended: dict[str, Any]) -> None:
    job = ended["id"]
    front.store.put(f"results/{job}/unfinished-0.jpg", [b"half a job"])
    upload = next(front.store.list("uploads"))
    below = front.services.accel_prefix
    for path in (
        f"/static/{job}/processed/unfinished-0.jpg",
        f"{below}{upload}",
        f"{below}results/{job}/unfinished-0.jpg",
        f"/{upload}",
        f"/static/{job}/processed/..%2f..%2f..%2f{upload}",
        f"/static/..{below}{upload}",
    ):
        answer = front.http.get(path, headers={"X-Accel-Redirect": f"{below}{upload}"})
        assert answer.status_code in (400, 404), path
        assert b"half a job" not in answer.content


def test_a_missing_file_gets_the_coordinators_problem_document(front: ApiServer, ended: dict[str, Any]) -> None:
    sent, result = urls_of(front, ended["id"])
    front.store.delete_prefix(f"results/{ended['id']}")
    answer = front.http.get(result)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    front.http.delete(f"/v1/jobs/{ended['id']}").raise_for_status()
    assert [front.http.get(url).status_code for url in (sent, result)] == [404, 404]


def test_an_upload_is_streamed_to_the_coordinator(front: ApiServer, jpeg: bytes) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
        head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        connection.sendall(f"{head}Content-Length: 2900000\r\n\r\n".encode() + part + jpeg + bytes(2_500_000))
        wait_until(front.stored, secs=10)
    wait_until(lambda: not front.stored())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_gets_the_coordinators_problem_document(front: ApiServer, chunked: bool) -> None:
    body = bytes(4_000_000)
    content = iter([body]) if chunked else body
    answer = front.http.post("/v1/jobs", content=content, headers={"Content-Type": "multipart/form-data; boundary=B"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.json()["code"] == "too_large_request"


def test_events_are_not_buffered(front: ApiServer, jpeg: bytes) -> None:
    job = front.submit(["a.jpg", "b.jpg"], jpeg)
    with front.http.stream("GET", job["links"]["events"]) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("event:")) == "event: progress"
        front.scheduler.finish(job["id"])
        assert "event: end" in lines


def test_every_response_has_the_security_headers_once(front: ApiServer, ended: dict[str, Any]) -> None:
    for path in ("/", "/healthz", "/v1/jobs", "/v1/jobs/none", "/nothing", *urls_of(front, ended["id"])):
        headers = front.http.get(path).headers
        assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert headers.get_list("x-frame-options") == ["DENY"]
        assert headers.get_list("referrer-policy") == ["no-referrer"]
        assert headers.get_list("cross-origin-opener-policy") == ["same-origin"]
        assert headers.get_list("cross-origin-resource-policy") == ["same-origin"]


def test_a_page_of_another_site_is_refused(front: ApiServer) -> None:
    assert front.http.post("/v1/jobs", headers={"Origin": "http://evil.example"}).status_code == 403
    own = front.http.post("/v1/jobs", headers={"Origin": str(front.http.base_url).rstrip("/")})
    assert own.status_code == 415


def test_nginx_answers_503_without_a_coordinator(web: NginxServer) -> None:
    assert httpx.get(f"{web.front_url}/healthz").json() == {"status": "ok"}
    answer = httpx.get(f"{web.front_url}/v1/jobs")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert json.loads(answer.content)["code"] == "unavailable"


def test_too_many_requests_get_429(tmp_path: Path, nginx: NginxServer) -> None:
    limits = "limit_req_zone $binary_remote_addr zone=requests:1m rate=1r/m;"
    with running_nginx(
        tmp_path, coordinator=nginx.coordinator, limits=limits, front="limit_req zone=requests;"
    ) as slow:
        assert slow is not None
        answers = [httpx.get(f"{slow.front_url}/v1/operations") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert answers[1].headers["retry-after"] == "1"
        assert answers[1].json()["code"] == "too_many_requests"
        assert httpx.get(f"{slow.front_url}/healthz").status_code == 200

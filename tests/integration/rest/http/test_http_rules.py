"""HTTP rules: host, target, HEAD, methods, encodings of bodies, ranges, and headers of every response."""

from __future__ import annotations

import gzip
import json
import logging
import os
import zlib
from typing import Any

import httpx
import pytest
from api_server import ApiServer, Serve
from waiting import wait_until

from penstock.common.settings import Limits

JOB = {"operations": [["split", True]]}


def head_of(*lines: str) -> bytes:
    return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


@pytest.mark.parametrize(
    "hosts",
    [[], ["a", "a"], ["a b"], ["a/b"], ["user@a"], ["[::1"], ["a:b"], [""], ["a:80:80"], ["[v1.x]"]],
    ids=str,
)
def test_a_missing_repeated_or_malformed_host_is_refused(coordinator: ApiServer, hosts: list[str]) -> None:
    status, body = coordinator.raw(head_of("GET /healthz HTTP/1.1", *(f"Host: {host}" for host in hosts)))
    assert (status, json.loads(body)["code"]) == (400, "invalid_host")


@pytest.mark.parametrize("host", ["a", "a.example:8080", "[::1]:80", "127.0.0.1", "x_y", "a:"])
def test_a_name_or_an_address_is_a_host(coordinator: ApiServer, host: str) -> None:
    assert coordinator.raw(head_of("GET /healthz HTTP/1.1", f"Host: {host}"))[0] == 200


@pytest.mark.parametrize("target", ["/v1/uploads/0/files/%ff.jpg", "/static/%C3%28/", "/v1/jobs?label=a%3D%E9"])
def test_a_name_that_is_not_utf_8_is_refused(coordinator: ApiServer, target: str) -> None:
    answer = coordinator.http.get(target)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_name")


def test_head_works_wherever_get_does(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"])
    here = job["url"]
    for path in (
        *(
            "/",
            "/docs",
            "/web/app.js",
            "/openapi.json",
            "/healthz",
            "/readyz",
            "/v1/operations",
            "/v1/jobs",
            "/session",
        ),
        *(here, f"{here}/images", f"{here}/results", f"{here}/results.zip", f"{here}/events", f"{here}/deliveries"),
        *("/static/", f"/static/{job['id']}/", f"/static/{job['id']}/sent/a.jpg", "/static", "/v1/jobs/none", "/none"),
    ):
        got, head = (coordinator.http.request(method, path) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (got.status_code, b""), path
        passing = {"date", "transfer-encoding", "content-length"}
        said = [{key: value for key, value in each.headers.items() if key not in passing} for each in (got, head)]
        assert said[0] == said[1], path
    answer = coordinator.http.head("/v1/uploads")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_refused_method_is_answered_with_all_that_are_accepted(coordinator: ApiServer) -> None:
    for path, allowed in (
        ("/v1/jobs", "GET, HEAD, POST"),
        ("/v1/jobs/x", "DELETE, GET, HEAD"),
        ("/v1/uploads/x", "DELETE, GET, HEAD"),
        ("/session", "DELETE, GET, HEAD, POST"),
        ("/process", "POST"),
        ("/openapi.json", "GET, HEAD"),
    ):
        answer = coordinator.http.patch(path)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"] == allowed, path


def gzipped(coordinator: ApiServer, body: bytes, encoding: str = "gzip") -> Any:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return coordinator.http.post("/v1/jobs?dry_run=true", content=body, headers=headers)


def test_a_body_may_be_gzipped(coordinator: ApiServer) -> None:
    plain = coordinator.http.post("/v1/jobs?dry_run=true", json=JOB)
    for body in (gzip.compress(json.dumps(JOB).encode()), gzip.compress(json.dumps(JOB).encode() + b" " * 900_000)):
        packed = gzipped(coordinator, body)
        assert (packed.status_code, packed.json()) == (plain.status_code, plain.json())
    assert gzipped(coordinator, json.dumps(JOB).encode(), "identity").json() == plain.json()


def test_a_gzipped_image_is_stored_as_it_was(coordinator: ApiServer, jpeg: bytes) -> None:
    upload = coordinator.http.post("/v1/uploads").json()["url"]
    packed, headers = gzip.compress(jpeg), {"Content-Encoding": "gzip"}
    answer = coordinator.http.put(f"{upload}/files/a.jpg", content=packed, headers=headers)
    assert (answer.status_code, answer.json()["size"]) == (201, len(jpeg))


def test_limits_hold_for_what_is_unpacked(serve: Serve) -> None:
    coordinator = serve(limits=Limits(max_field_bytes=100_000))
    answer = gzipped(coordinator, gzip.compress(bytes(50_000_000)))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large_request")


@pytest.mark.parametrize(
    "body",
    [b"{}", b"", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"more", zlib.compress(b"{}")],
    ids=["plain", "empty", "cut", "more", "zlib"],
)
def test_what_is_not_gzip_is_refused(coordinator: ApiServer, body: bytes) -> None:
    answer = gzipped(coordinator, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_encoding")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_encodings_are_refused(coordinator: ApiServer, encoding: str) -> None:
    answer = gzipped(coordinator, b"{}", encoding)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip"


def test_a_part_of_a_file_is_not_put(coordinator: ApiServer, jpeg: bytes) -> None:
    upload = coordinator.http.post("/v1/uploads").json()["url"]
    headers = {"Content-Range": "bytes 0-9/100"}
    answer = coordinator.http.put(f"{upload}/files/a.jpg", content=jpeg, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "partial_put")


def test_a_range_beyond_the_end_gets_a_problem_document(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    answer = coordinator.http.get(f"/static/{job['id']}/sent/a.jpg", headers={"Range": "bytes=1000000-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "no_such_range")
    assert answer.headers["content-range"] == f"bytes */{len(jpeg)}"


def test_every_response_keeps_other_sites_out(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    sent = f"/static/{job['id']}/sent/a.jpg"
    etag = coordinator.http.get(sent).headers["etag"]
    answers = [coordinator.http.get(path) for path in ("/", "/docs", "/web/app.js", "/healthz", "/none", sent)]
    answers.append(coordinator.http.get(sent, headers={"If-None-Match": etag}))
    assert answers[-1].status_code == 304
    answers.append(coordinator.http.get(sent, headers={"Range": "bytes=0-1"}))
    answers.append(coordinator.http.post("/v1/jobs", headers={"Origin": "http://evil.example"}))
    for answer in answers:
        assert answer.headers.get_list("cross-origin-resource-policy") == ["same-origin"]
        assert answer.headers.get_list("cross-origin-opener-policy") == ["same-origin"]


def test_an_unexpected_error_has_the_headers_too(
    coordinator: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(coordinator.services.repository, "list_jobs", fail)
    answer = coordinator.http.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    caplog.clear()


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"operations": [{"op": "resize", "width": True, "height": 3}]}, "/operations/0/width"),
        ({"operations": [{"op": "resize", "width": "200", "height": 3}]}, "/operations/0/width"),
        ({"operations": [["resize", {"width": 200, "height": True}]]}, "/operations/0/1/height"),
        ({"operations": [["split", 1]]}, "/operations/0/1"),
        ({"operations": [["split", {"enabled": "yes"}]]}, "/operations/0/1/enabled"),
        ({**JOB, "quality": "90"}, "/quality"),
        ({**JOB, "priority": True}, "/priority"),
        ({**JOB, "progressive": 1}, "/progressive"),
    ],
    ids=str,
)
def test_types_are_strict_except_for_process(
    coordinator: ApiServer, jpeg: bytes, document: dict[str, Any], pointer: str
) -> None:
    answer = coordinator.http.post("/v1/jobs?dry_run=true", json=document)
    assert (answer.status_code, answer.json()["pointer"]) == (422, pointer)
    files = {"files": ("a.jpg", jpeg)}
    assert coordinator.http.post("/process", data={"actions": json.dumps(document)}, files=files).status_code == 202


@pytest.mark.parametrize("images", [["1"], [True], [1.0]])
def test_numbers_of_images_are_numbers(coordinator: ApiServer, jpeg: bytes, images: list[Any]) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    answer = coordinator.http.post(f"{job['url']}/retry", json={"images": images})
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/images/0")


@pytest.mark.parametrize("text", ["a\u202eb", "a\u2066b", "a\x9bb", "a\u200eb", "\ufeffa", "a\nb", "a\x1b[31mb"])
@pytest.mark.parametrize("place", ["name", "label", "key"])
def test_names_have_no_characters_that_mislead(coordinator: ApiServer, text: str, place: str) -> None:
    fields = {"name": {"name": text}, "label": {"labels": {"a": text}}, "key": {"labels": {text: "a"}}}
    answer = coordinator.http.post("/v1/jobs?dry_run=true", json={**JOB, **fields[place]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_document")


@pytest.mark.parametrize("name", ["Zürich", "日本", "עברית", "العربية", "👩\u200d🚒"])
def test_names_may_be_in_any_language(coordinator: ApiServer, jpeg: bytes, name: str) -> None:
    assert coordinator.submit(["a.jpg"], jpeg, name=name)["name"] == name


def large_results(coordinator: ApiServer, jpeg: bytes) -> dict[str, Any]:
    """Return a finished job whose input files are too large to be sent at once."""
    return coordinator.submit(["a.jpg", "b.jpg"], jpeg + bytes(20_000_000))


def test_a_file_that_is_cut_while_it_is_sent_ends_early(
    coordinator: ApiServer, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    job = large_results(coordinator, jpeg)
    with coordinator.http.stream("GET", f"/static/{job['id']}/sent/a.jpg") as answer:
        assert answer.status_code == 200
        for path in (coordinator.store.root / "uploads").rglob("*"):
            if path.is_file():
                os.truncate(path, 70_000)
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    wait_until(lambda: caplog.records)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "ended early" in caplog.text
    assert "Traceback" not in caplog.text


def test_an_archive_of_a_job_that_is_deleted_ends_early(
    coordinator: ApiServer, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    job = coordinator.submit([f"{index:02}.jpg" for index in range(40)], jpeg)
    coordinator.scheduler.finish(job["id"], repeats=100_000)  # more than sockets buffer
    results = sorted((coordinator.store.root / "results").rglob("*.jpg"))
    with coordinator.http.stream("GET", f"{job['url']}/results.zip") as answer:
        assert answer.status_code == 200
        results[-1].unlink()
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    wait_until(lambda: caplog.records)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Traceback" not in caplog.text


def test_a_result_that_is_missing_gets_404(
    coordinator: ApiServer, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"])
    [result] = (coordinator.store.root / "results").rglob("*.jpg")
    [url] = [each["url"] for each in coordinator.http.get(f"{job['url']}/results").json()["results"]]
    result.unlink()
    for path in (url, f"{job['url']}/results.zip"):
        answer = coordinator.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert caplog.messages == []


def test_downloads_are_counted(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_downloads=1))
    job = large_results(coordinator, jpeg)
    url = f"/static/{job['id']}/sent/a.jpg"
    with coordinator.http.stream("GET", url) as first:
        assert first.status_code == 200
        answer = coordinator.http.get(url)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_downloads")
        assert coordinator.http.get(url, headers={"Range": "bytes=0-9"}).status_code == 206

"""Limits and malformed requests, with real bytes: a clear response, and nothing is left behind."""

from __future__ import annotations

import json
import socket

import pytest
from api_server import ApiServer, Serve
from waiting import wait_until

from penstock.common.settings import Limits

ACTION = b'{"operations": [["blur", "median"]]}'


def part(disposition: bytes, content: bytes) -> bytes:
    """One part of a form with the boundary B."""
    return b"--B\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form with the boundary B."""
    return b"".join(parts) + b"--B--\r\n"


def named(name: bytes, content: bytes) -> bytes:
    """A form with one action and one file."""
    return form(part(b'name="actions"', ACTION), part(b'name="files"; filename=' + name, content))


def head(length: int | None, path: str = "/process") -> bytes:
    """The head of a raw request for a form."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n{framing}\r\n\r\n"
    ).encode()


@pytest.fixture
def small(serve: Serve) -> ApiServer:
    """A REST API with small limits."""
    return serve(
        limits=Limits(
            max_files=3, max_fields=5, max_field_bytes=500, max_file_bytes=2_000_000, max_upload_bytes=3_000_000
        )
    )


def test_a_form_of_ten_thousand_fields_is_refused(small: ApiServer) -> None:
    status, problem = small.post_form("/process", form(*[part(b'name="actions"', ACTION)] * 10_000))
    assert (status, problem["code"]) == (413, "too_many_fields")


def test_an_unknown_field_is_refused(small: ApiServer) -> None:
    status, problem = small.post_form("/process", form(*[part(b'name="f%d"' % n, b"1") for n in range(10_000)]))
    assert (status, problem["code"]) == (422, "unknown_field")
    assert "f0" in problem["detail"]


@pytest.mark.parametrize(("path", "field"), [("/process", "actions"), ("/v1/jobs", "job")])
def test_a_field_that_is_not_json_is_named(small: ApiServer, path: str, field: str) -> None:
    status, problem = small.post_form(path, form(part(b'name="%s"' % field.encode(), b"{operations}")))
    assert (status, problem["code"]) == (400, "invalid_json")
    assert problem["detail"].startswith(f"the field {field} is not JSON: ")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("op=blur%3Dgausian", "blur method: 'gausian' is not accepted; accepted are "),
        ("op=resize", "resize needs a size, e.g. resize=1024x768"),
        ("op=split&outptu=png", "query parameter 'outptu': there is no such parameter; accepted are op, output, "),
        ("op=split&output=pgn", "output: 'pgn' is not accepted; accepted are jpg, png, webp, avif, tiff and keep; did"),
        ("op=encode%3D%7B%22max_bytes%22:9%7D", "encode has no parameter 'max_bytes'; accepted are "),
    ],
)
def test_a_query_is_refused_in_plain_words(coordinator: ApiServer, jpeg: bytes, query: str, detail: str) -> None:
    refused = coordinator.http.post(f"/v1/process?{query}", content=jpeg, headers={"Content-Type": "image/jpeg"})
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(detail)


def test_a_parameter_of_a_list_is_refused_in_plain_words(coordinator: ApiServer) -> None:
    refused = coordinator.http.get("/v1/jobs?limit=none")
    assert refused.json()["detail"] == "query parameter limit: 'none' is not accepted; accepted is a whole number"


def test_a_field_over_its_limit_is_refused(small: ApiServer) -> None:
    status, problem = small.post_form("/process", form(part(b'name="actions"', b" " * 501)))
    assert (status, problem["code"], problem["pointer"]) == (413, "too_large_field", "/actions")


def test_too_many_files_are_refused_and_none_stays(small: ApiServer, jpeg: bytes) -> None:
    body = form(part(b'name="actions"', ACTION), *[part(b'name="files"; filename="a.jpg"', jpeg)] * 4)
    status, problem = small.post_form("/process", body)
    assert (status, problem["code"]) == (413, "too_many_files")
    assert small.stored() == []


def test_a_file_over_its_limit_is_refused_and_nothing_stays(small: ApiServer, jpeg: bytes) -> None:
    status, problem = small.post_form("/process", named(b'"big.jpg"', jpeg + bytes(2_000_000)))
    assert (status, problem["code"]) == (413, "too_large_file")
    assert problem["detail"] == "file 'big.jpg' is too large; accepted are up to 2000000 (PENSTOCK_MAX_FILE_BYTES)"
    assert small.stored() == []


def test_an_upload_with_a_too_large_content_length_is_refused_at_once(small: ApiServer) -> None:
    status, body = small.raw(head(3_000_001))
    assert (status, json.loads(body)["code"]) == (413, "too_large_request")
    assert json.loads(body)["detail"] == "the request is larger than 3000000 bytes (PENSTOCK_MAX_UPLOAD_BYTES)"


def test_an_upload_without_content_length_is_refused_when_it_gets_too_large(small: ApiServer, jpeg: bytes) -> None:
    chunk = b"%x\r\n" % 1_000_000 + bytes(1_000_000) + b"\r\n"
    begin = part(b'name="files"; filename="a.jpg"', b"")[:-2] + jpeg
    second = b"\r\n" + begin
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as connection:
        connection.sendall(head(None) + b"%x\r\n%b\r\n" % (len(begin), begin) + chunk)
        connection.sendall(b"%x\r\n%b\r\n" % (len(second), second) + chunk + chunk)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"too_large_request" in answer
    assert small.stored() == []


def test_a_client_that_reads_only_after_sending_still_gets_the_response(small: ApiServer, jpeg: bytes) -> None:
    body = named(b'"big.jpg"', jpeg + bytes(40_000_000))
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as connection:
        connection.sendall(head(None))
        for start in range(0, len(body), 1_000_000):
            piece = body[start : start + 1_000_000]
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"too_large_file" in answer


def test_a_client_that_disconnects_leaves_nothing_behind(coordinator: ApiServer, jpeg: bytes) -> None:
    body = named(b'"a.jpg"', jpeg + bytes(6_000_000))
    with socket.create_connection(("127.0.0.1", coordinator.port), timeout=20) as connection:
        connection.sendall(head(len(body)) + body[:4_000_000])
        wait_until(lambda: coordinator.stored() != [])
    wait_until(lambda: coordinator.stored() == [])
    assert coordinator.services.repository.count_open_jobs() == 0


def test_a_client_that_stops_sending_gets_408_and_leaves_nothing_behind(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(idle_secs=0.2)
    body = named(b'"a.jpg"', jpeg + bytes(3_000_000))
    status, answer = coordinator.raw(head(len(body)) + body[:2_000_000])
    assert (status, json.loads(answer)["code"]) == (408, "request_timeout")
    wait_until(lambda: coordinator.stored() == [])


def test_a_client_that_never_stops_sending_is_disconnected(serve: Serve) -> None:
    small = serve(discard_bytes=5_000_000)
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as connection:
        connection.sendall(head(None, "/nowhere"))
        with pytest.raises(ConnectionError):
            send_without_end(connection)


def test_a_content_length_above_the_body_leaves_nothing_behind(coordinator: ApiServer, jpeg: bytes) -> None:
    body = named(b'"a.jpg"', jpeg)
    with socket.create_connection(("127.0.0.1", coordinator.port), timeout=20) as connection:
        connection.sendall(head(len(body) + 10) + body)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536) == b""
    wait_until(lambda: coordinator.stored() == [])
    assert coordinator.services.repository.count_open_jobs() == 0


def test_a_content_length_below_the_body_is_malformed(coordinator: ApiServer, jpeg: bytes) -> None:
    body = named(b'"a.jpg"', jpeg)
    assert coordinator.raw(head(len(body) - 10) + body)[0] == 400
    wait_until(lambda: coordinator.stored() == [])
    assert coordinator.services.repository.count_open_jobs() == 0


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", named(b'"a.jpg"', b"x")),
        ("multipart/form-data; boundary=", named(b'"a.jpg"', b"x")),
        (f"multipart/form-data; boundary={'B' * 5_000}", named(b'"a.jpg"', b"x")),
        ("multipart/form-data; boundary=C", named(b'"a.jpg"', b"x")),
        ("multipart/form-data; boundary=B", named(b'"a.jpg"', b"x")[:-4]),
        ("multipart/form-data; boundary=B", b""),
        ("multipart/form-data; boundary=B", b"--B\r\nno header\r\n\r\n--B--"),
        ("multipart/form-data; boundary=B", b"--B\r\n\r\nno disposition\r\n--B--"),
        ("multipart/form-data; boundary=B", b"--B\r\nX: " + b"y" * 100_000),
        ("multipart/form-data; boundary=B", form(part(b'filename="nameless.jpg"', b"x"))),
    ],
)
def test_an_invalid_form_is_malformed(coordinator: ApiServer, content_type: str, body: bytes) -> None:
    answer = coordinator.http.post("/process", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_multipart")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "", "multipart/mixed"])
def test_another_media_type_is_refused(coordinator: ApiServer, content_type: str) -> None:
    for path in "/process", "/v1/jobs":
        answer = coordinator.http.post(path, content=b"{}", headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b'""', "invalid_name"),
        (b'"a/.."', "invalid_name"),
        (b'"folder/"', "invalid_name"),
        (b'"a\x00.jpg"', "invalid_name"),
        (b'"a\x1b[31m.jpg"', "invalid_name"),
        (b'"a\xff.jpg"', "invalid_name"),
        (b'"' + b"n" * 296 + b'.jpg"', "name_too_long"),
        (b'"' + "ü".encode() * 130 + b'"', "name_too_long"),
        (b"x; filename*=UTF-8''%FF", "invalid_name"),
        (b"x; filename*=no-such-charset''a", "invalid_name"),
    ],
)
def test_an_invalid_file_name_is_refused(coordinator: ApiServer, jpeg: bytes, sent: bytes, code: str) -> None:
    status, problem = coordinator.post_form("/process", named(sent, jpeg))
    assert (status, problem["code"], problem["pointer"]) == (422, code, "/files")
    assert coordinator.stored() == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b'"../../etc/passwd"', "passwd"),
        (b'"C:\\\\photos\\\\a.jpg"', "a.jpg"),
        ('"gpj.\u202eexe"'.encode(), "gpj._exe"),
        ('"e\u0301.jpg"'.encode(), "é.jpg"),
        ('"Straße 1.jpg"'.encode(), "Straße 1.jpg"),
        (b"\"plain.jpg\"; filename*=UTF-8''%C3%A9t%C3%A9.jpg", "été.jpg"),
        (b'"a;b.jpg"', "a;b.jpg"),
        (b'"100%25 #1?.jpg"', "100%25 #1?.jpg"),
        (b'"<img src=x onerror=alert(1)>.jpg"', "<img src=x onerror=alert(1)>.jpg"),
    ],
)
def test_a_name_is_cleaned_and_its_file_can_be_fetched(
    coordinator: ApiServer, jpeg: bytes, sent: bytes, kept: str
) -> None:
    status, answer = coordinator.post_form("/process", named(sent, jpeg))
    assert status == 202
    folder = f"{answer['jobs'][0]['static']}sent/"
    (listed,) = coordinator.http.get(folder, headers={"Accept": "application/json"}).json()["files"]
    assert listed["name"] == kept
    assert coordinator.http.get(listed["url"]).content == jpeg
    page = coordinator.http.get(folder).text
    assert "<img" not in page
    assert listed["url"].split("/")[-1] in page


def test_a_form_without_any_image_is_refused(coordinator: ApiServer) -> None:
    body = form(
        part(b'name="actions"', ACTION),
        part(b'name="files"; filename="first.jpg"', b"GIF89a"),
        part(b'name="files"; filename="second.jpg"', b"BM"),
    )
    status, problem = coordinator.post_form("/process", body)
    assert (status, problem["code"]) == (415, "unsupported_type")
    assert "first.jpg" in problem["detail"]
    assert coordinator.stored() == []


def test_only_the_bad_files_of_a_form_fail(coordinator: ApiServer, jpeg: bytes, png: bytes) -> None:
    body = form(
        part(b'name="actions"', ACTION),
        part(b'name="files"; filename="good.gif"', png),
        part(b'name="files"; filename="text.jpg"', b"not an image"),
        part(b'name="files"; filename="empty.jpg"', b""),
    )
    status, answer = coordinator.post_form("/process", body)
    assert status == 202
    url = answer["jobs"][0]["url"]
    assert coordinator.http.get(url).json()["images"] == {
        "total": 3, "pending": 1, "queued": 0, "running": 0, "done": 0, "failed": 2, "cancelled": 0,
    }  # fmt: skip
    failed = coordinator.http.get(f"{url}/images", params={"state": "failed"}).json()["images"]
    assert [(image["name"], image["error"]["code"]) for image in failed] == [
        ("text.jpg", "unsupported_type"),
        ("empty.jpg", "empty_file"),
    ]
    assert failed[0]["error"]["step"] == "blur"
    assert failed[0]["error"]["retry"] is False


def test_a_job_with_only_an_empty_file_is_accepted_and_fails(coordinator: ApiServer) -> None:
    status, answer = coordinator.post_form("/process", named(b'"a.jpg"', b""))
    assert status == 202
    assert coordinator.http.get(answer["jobs"][0]["url"]).json()["state"] == "failed"


def test_a_form_without_files_is_refused(coordinator: ApiServer) -> None:
    status, problem = coordinator.post_form("/process", form(part(b'name="actions"', ACTION)))
    assert (status, problem["code"]) == (422, "no_images")


def test_a_files_field_without_a_file_is_refused(coordinator: ApiServer) -> None:
    status, problem = coordinator.post_form("/process", form(part(b'name="files"', b"x")))
    assert (status, problem["code"]) == (422, "not_a_file")


def test_a_document_may_be_sent_as_a_file(coordinator: ApiServer, jpeg: bytes) -> None:
    body = form(part(b'name="job"; filename="job.json"', ACTION), part(b'name="files"; filename="a.jpg"', jpeg))
    assert coordinator.post_form("/v1/jobs", body)[0] == 202


def test_an_upload_above_the_limit_of_open_jobs_is_refused_before_it_is_stored(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_open_jobs=1))
    job = coordinator.submit(["a.jpg"], jpeg)
    before = coordinator.stored()
    status, problem = coordinator.post_form("/process", named(b'"a.jpg"', jpeg))
    assert (status, problem["code"]) == (429, "too_many_jobs")
    assert coordinator.stored() == before
    coordinator.scheduler.finish(job["id"])
    assert coordinator.post_form("/process", named(b'"a.jpg"', jpeg))[0] == 202


def send_without_end(connection: socket.socket) -> None:
    """Send a chunked body of at most a gigabyte."""
    for _ in range(10_000):
        connection.sendall(b"186a0\r\n" + bytes(100_000) + b"\r\n")

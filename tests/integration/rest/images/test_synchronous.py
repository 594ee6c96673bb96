"""`POST /v1/process`: one image in, its result out."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from api_server import ApiServer, Serve, repeating
from waiting import wait_until

from penstock.common.model.jobs import DECODE_OPTIONS, ENCODE_OPTIONS, JobState
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore, LocalUpload
from penstock.coordinator.auth.keys import Keys, make_key
from penstock.coordinator.ports.repository import ALL_OWNERS, Job
from penstock.coordinator.ports.unstored_jobs import VOLATILE
from penstock.coordinator.scheduling.garbage_collector import GarbageCollector

URL = "/v1/process?op=resize=200x300&op=blur=gaussian"
JPEG = {"Content-Type": "image/jpeg"}


@contextmanager
def finishing(coordinator: ApiServer, *, parts: int = 1, code: str | None = None) -> Iterator[list[Job]]:
    """End every job that arrives, with results or with a code; yield the list of these jobs."""
    seen: list[Job] = []

    def finish() -> None:
        for job in coordinator.services.repository.dispatchable():
            seen.append(job)
            [image] = coordinator.services.repository.list_images(job.id, limit=2)
            coordinator.scheduler.finish(job.id, parts=parts, fail={image.name: code} if code else None)

    with repeating(finish):
        yield seen


def assert_nothing_is_left(coordinator: ApiServer) -> None:
    """Check, once the response's job is deleted, that neither job nor file is left."""
    wait_until(lambda: not coordinator.http.get("/v1/jobs").json()["jobs"])
    wait_until(lambda: not coordinator.stored() and not list(coordinator.store.list("results")))


def test_the_response_is_the_result_with_its_facts_and_nothing_is_left(coordinator: ApiServer, jpeg: bytes) -> None:
    with finishing(coordinator) as jobs:
        answer = coordinator.http.post(f"{URL}&filename=street.jpg", content=jpeg, headers=JPEG)
    assert answer.status_code == 200, answer.text
    digest = hashlib.sha256(answer.content)
    assert answer.content == b"street.jpg 0 " * 50
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert (answer.headers["penstock-width"], answer.headers["penstock-height"]) == ("2", "1")
    assert answer.headers["penstock-name"].startswith("street")
    assert answer.headers["penstock-job"] == jobs[0].id
    assert "no-store" in answer.headers["cache-control"]
    timing = answer.headers["server-timing"]
    assert re.findall(r"([a-z]+);dur=([0-9.]+)", timing) == [
        ("wait", "1500.0"), ("resize", "250.0"), ("blur", "250.0"), ("encode", "250.0"),
    ]  # fmt: skip
    assert_nothing_is_left(coordinator)


def test_a_form_with_one_file_is_accepted_too(coordinator: ApiServer, png: bytes) -> None:
    with finishing(coordinator):
        answer = coordinator.http.post(URL, files={"file": ("north.png", png)})
    assert answer.content == b"north.png 0 " * 50
    assert_nothing_is_left(coordinator)


def test_several_results_are_a_zip_file(coordinator: ApiServer, jpeg: bytes) -> None:
    with finishing(coordinator, parts=4):
        answer = coordinator.http.post("/v1/process?op=split&filename=a.jpg", content=jpeg, headers=JPEG)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [f"a.jpg {n} ".encode() * 50 for n in range(4)]
    assert_nothing_is_left(coordinator)


def test_results_are_parts_with_their_facts_for_a_client_that_accepts_them(coordinator: ApiServer, jpeg: bytes) -> None:
    headers = {**JPEG, "Accept": "multipart/mixed"}
    with finishing(coordinator, parts=2):
        answer = coordinator.http.post("/v1/process?op=split&filename=a.jpg", content=jpeg, headers=headers)
    boundary = re.fullmatch(r"multipart/mixed; boundary=(\w+)", answer.headers["content-type"])
    assert boundary is not None
    before, *parts, end = answer.content.split(f"--{boundary[1]}".encode())
    assert (before, end) == (b"", b"--\r\n")
    for number, part in enumerate(parts):
        head, _, body = part.partition(b"\r\n\r\n")
        assert body == f"a.jpg {number} ".encode() * 50 + b"\r\n"
        assert f"Content-Length: {len(body) - 2}".encode() in head
        assert b"Penstock-Width: 2" in head


def test_a_single_result_is_an_archive_for_a_client_that_asks_for_one(coordinator: ApiServer, jpeg: bytes) -> None:
    with finishing(coordinator):
        answer = coordinator.http.post(URL, content=jpeg, headers={**JPEG, "Accept": "application/zip"})
    assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("corrupt_image", 422),
        ("too_many_pixels", 422),
        ("step_timeout", 504),
        ("attempts_exhausted", 503),
        ("step_crashed", 500),
        ("internal", 500),
    ],
)
def test_a_failed_image_is_a_problem_with_its_code(coordinator: ApiServer, jpeg: bytes, code: str, status: int) -> None:
    with finishing(coordinator, code=code):
        answer = coordinator.http.post(URL, content=jpeg, headers=JPEG)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"] == f"resize: it is {code}"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert_nothing_is_left(coordinator)


def test_an_empty_body_is_a_failed_image(coordinator: ApiServer) -> None:
    answer = coordinator.http.post(URL, content=b"", headers=JPEG)
    assert (answer.status_code, answer.json()["code"]) == (422, "empty_file")
    assert_nothing_is_left(coordinator)


def test_a_job_that_is_kept_can_be_looked_at_afterwards(coordinator: ApiServer, jpeg: bytes) -> None:
    with finishing(coordinator):
        answer = coordinator.http.post(f"{URL}&keep=true&name=delft&quality=80", content=jpeg, headers=JPEG)
    job = coordinator.http.get(f"/v1/jobs/{answer.headers['penstock-job']}").json()
    assert (job["state"], job["name"], job["labels"]) == ("succeeded", "delft", {})
    assert [operation["op"] for operation in job["operations"]] == ["resize", "blur", "encode"]
    assert job["operations"][-1]["quality"] == 80
    [result] = coordinator.http.get(job["links"]["results"]).json()["results"]
    assert coordinator.http.get(result["url"]).content == answer.content


@pytest.mark.parametrize(
    ("query", "prefer", "is_volatile"),
    [
        ("", "wait=5", True),
        ("", "respond-async", False),  # the answer may be 202, which tells of a job that goes on
        ("&keep=true", "wait=5", False),
    ],
)
@pytest.mark.parametrize("is_form", [False, True])
def test_only_files_of_a_job_that_nobody_is_told_of_may_be_lost_in_a_power_failure(
    coordinator: ApiServer,
    jpeg: bytes,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    prefer: str,
    is_volatile: bool,
    is_form: bool,
) -> None:
    uploads: list[bool] = []
    upload = LocalStore.upload

    def note(store: LocalStore, key: str, *, volatile: bool = False) -> LocalUpload:
        uploads.append(volatile)
        return upload(store, key, volatile=volatile)

    monkeypatch.setattr(LocalStore, "upload", note)
    with finishing(coordinator) as jobs:
        content = {"files": {"file": ("north.jpg", jpeg)}} if is_form else {"content": jpeg}
        headers = {"Prefer": prefer, **({} if is_form else JPEG)}
        answer = coordinator.http.post(URL + query, headers=headers, **content)
    assert answer.status_code == 200, answer.text
    assert (uploads, [VOLATILE in job.document for job in jobs]) == ([is_volatile], [is_volatile])


def test_after_the_time_limit_the_job_is_cancelled(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_wait_secs=0.2))
    answer = coordinator.http.post(URL, content=jpeg, headers=JPEG)
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert "not done within 0.2 s (PENSTOCK_MAX_WAIT_SECS); cancelled;" in answer.json()["detail"]
    assert_nothing_is_left(coordinator)


def test_after_the_time_limit_a_job_that_is_kept_goes_on(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_wait_secs=0.2))
    answer = coordinator.http.post(f"{URL}&keep=true", content=jpeg, headers=JPEG)
    assert answer.status_code == 504
    [job] = coordinator.http.get("/v1/jobs").json()["jobs"]
    assert f"job {job['id']} goes on and is kept" in answer.json()["detail"]
    coordinator.scheduler.finish(job["id"])
    assert coordinator.http.get(job["url"]).json()["state"] == "succeeded"


def test_a_client_that_prefers_it_gets_the_job_after_the_time_limit(coordinator: ApiServer, jpeg: bytes) -> None:
    began = time.monotonic()
    headers = {**JPEG, "Prefer": "respond-async, wait=1"}
    answer = coordinator.http.post(URL, content=jpeg, headers=headers)
    assert time.monotonic() - began >= 1
    assert (answer.status_code, answer.json()["state"]) == (202, "accepted")
    assert answer.headers["preference-applied"] == "respond-async, wait=1"
    location = answer.headers["location"]
    coordinator.scheduler.finish(answer.json()["id"])
    assert coordinator.http.get(location).json()["state"] == "succeeded"


def test_a_preference_that_cannot_be_read_is_refused(coordinator: ApiServer, jpeg: bytes) -> None:
    answer = coordinator.http.post(URL, content=jpeg, headers={**JPEG, "Prefer": "wait=soon"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_preference")
    assert coordinator.stored() == []


def test_the_job_of_a_client_that_leaves_is_cancelled(coordinator: ApiServer, jpeg: bytes) -> None:
    head = f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", coordinator.port)) as connection:
        connection.sendall(head.encode() + jpeg)
        wait_until(lambda: coordinator.services.repository.count_jobs().get(JobState.ACCEPTED) == 1)
    assert_nothing_is_left(coordinator)


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("op=resize=x", "invalid_parameter", "is not a size"),
        ("op=blur=gaussian&op=sharpn", "unknown_operation", "sharpn"),
        ("op=split&quality=101", "invalid_document", "quality"),
        ("op=split&output=bmp", "invalid_document", "output"),
        ("op=split&qualty=80", "invalid_parameter", "qualty"),
        ("op=split&quality=80&quality=90", "invalid_parameter", "more than once"),
        ("op=split&keep=maybe", "invalid_parameter", "true and false"),
        ("op=split&filename=..", "invalid_name", ".."),
        ("op=split&inputs=a.jpg", "invalid_parameter", "inputs"),
    ],
)
def test_a_query_that_is_not_accepted_is_refused_with_the_reason(
    coordinator: ApiServer, jpeg: bytes, query: str, code: str, named: str
) -> None:
    answer = coordinator.http.post(f"/v1/process?{query}", content=jpeg, headers=JPEG)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert named in answer.json()["detail"]
    assert coordinator.stored() == []


def send_text(coordinator: ApiServer) -> httpx.Response:
    return coordinator.http.post(URL, content=b"not an image", headers={"Content-Type": "image/png"})


def send_json(coordinator: ApiServer) -> httpx.Response:
    return coordinator.http.post(URL, json={})


def send_two_files(coordinator: ApiServer) -> httpx.Response:
    files = [("file", (f"{number}.jpg", b"\xff\xd8\xff\xe0")) for number in range(2)]
    return coordinator.http.post(URL, files=files)


def send_a_text_field(coordinator: ApiServer) -> httpx.Response:
    return coordinator.http.post(URL, data={"job": "{}"}, files={"file": ("a.jpg", b"\xff\xd8\xff\xe0")})


@pytest.mark.parametrize(
    ("send", "status", "code"),
    [
        (send_text, 415, "unsupported_type"),
        (send_json, 415, "unsupported_media_type"),
        (send_two_files, 422, "too_many_files"),
        (send_a_text_field, 422, "unknown_field"),
    ],
)
def test_a_body_that_is_not_one_image_is_refused(
    coordinator: ApiServer, send: Callable[[ApiServer], httpx.Response], status: int, code: str
) -> None:
    answer = send(coordinator)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert coordinator.stored() == []


def test_an_image_over_the_limit_is_refused(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_file_bytes=100))
    answer = coordinator.http.post(URL, content=jpeg + bytes(100), headers=JPEG)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large_file")
    assert coordinator.stored() == []


def test_the_query_has_every_option_of_a_job_that_reads_or_writes_images(coordinator: ApiServer) -> None:
    parameters = coordinator.http.get("/openapi.json").json()["paths"]["/v1/process"]["post"]["parameters"]
    names = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert names == {"op", "name", "priority", "filename", "keep", *ENCODE_OPTIONS, *DECODE_OPTIONS}


@pytest.mark.parametrize("query", ["crop=400x300+10+20", "adjust=brightness=+2", "rotate=+90"])
def test_a_plus_in_a_query_may_stand_for_itself(coordinator: ApiServer, jpeg: bytes, query: str) -> None:
    """In queries it stands for a space, unless it is percent-encoded."""
    with finishing(coordinator) as jobs:
        for text in (query, query.replace("+", "%2B")):
            answer = coordinator.http.post(f"/v1/process?op={text}", content=jpeg, headers=JPEG)
            assert answer.status_code == 200, answer.text
    assert jobs[0].plan == jobs[1].plan


def test_the_job_has_the_highest_priority_of_its_key_and_counts_for_its_quota(serve: Serve, jpeg: bytes) -> None:
    token, key = make_key("delft", max_priority=7, images_per_day=1)
    coordinator = serve(keys=Keys([key]))
    assert coordinator.http.post(URL, content=jpeg, headers=JPEG).status_code == 401
    coordinator.http.headers["Authorization"] = f"Bearer {token}"
    too_high = coordinator.http.post(f"{URL}&priority=8", content=jpeg, headers=JPEG)
    assert (too_high.status_code, too_high.json()["code"]) == (403, "priority_not_allowed")
    with finishing(coordinator) as jobs:
        assert coordinator.http.post(URL, content=jpeg, headers=JPEG).status_code == 200
    assert [(job.priority, job.owner) for job in jobs] == [(7, "delft")]
    refused = coordinator.http.post(URL, content=jpeg, headers=JPEG)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert_nothing_is_left(coordinator)


def test_a_job_whose_coordinator_died_before_it_could_delete_it_is_collected(
    coordinator: ApiServer, jpeg: bytes
) -> None:
    repository = coordinator.services.repository
    answer = coordinator.http.post(URL, content=jpeg, headers={**JPEG, "Prefer": "respond-async, wait=0"})
    labelled = coordinator.submit(["a.jpg"], jpeg, labels={"transient": "true"})["id"]
    left = answer.json()["id"]
    collector = GarbageCollector(repository, coordinator.store, abandoned_secs=0.001)
    collector.collect()
    assert repository.get_job(left, ALL_OWNERS) is not None, "it has not ended"
    coordinator.scheduler.finish(left)
    coordinator.scheduler.finish(labelled)
    GarbageCollector(repository, coordinator.store, abandoned_secs=3_600.0).collect()
    assert repository.get_job(left, ALL_OWNERS) is not None, "it is not old"
    GarbageCollector(repository, coordinator.store, abandoned_secs=0.001).collect()
    assert repository.get_job(left, ALL_OWNERS) is None
    assert repository.get_job(labelled, ALL_OWNERS) is not None, "its user gave it that label"
    assert [key for key in coordinator.store.list("results") if left in key] == []

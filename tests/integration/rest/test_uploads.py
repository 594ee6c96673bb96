"""Uploads file by file: each file is stored once, and jobs read them."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from waiting import wait_until

from penstock.common.settings import Limits
from penstock.coordinator.scheduling.garbage_collector import GarbageCollector


@pytest.fixture
def begin(coordinator) -> Callable[[], str]:
    """Create an upload; return its URL."""

    def make() -> str:
        answer = coordinator.http.post("/v1/uploads")
        assert answer.status_code == 201
        assert answer.headers["location"] == answer.json()["url"]
        return str(answer.json()["url"])

    return make


@pytest.fixture
def send(coordinator) -> Callable[..., httpx.Response]:
    """Send one file."""

    def put(upload: str, name: str, data: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return coordinator.http.put(f"{upload}/files/{quote(name)}", content=data, headers=headers)

    return put


def job_of(upload: str, **fields: Any) -> dict[str, Any]:
    given = {"upload": upload.rpartition("/")[2]}
    return {"operations": [["blur", "median"]], "inputs": [given], **fields}


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_files_are_uploaded_listed_and_become_a_job(coordinator, begin, send, jpeg, png):
    upload = begin()
    sent = {"b.jpg": jpeg, "north/a.png": png, "north/é ü.jpg": jpeg}
    for name, data in sent.items():
        answer = send(upload, name, data)
        assert answer.status_code == 201, answer.text
        assert answer.json()["sha256"] == hashlib.sha256(data).hexdigest()
    shown = coordinator.http.get(upload).json()
    assert (shown["count"], shown["pictures"], shown["size"]) == (3, 3, sum(map(len, sent.values())))
    assert {file["name"]: file["media_type"] for file in shown["files"]} == {
        "b.jpg": "image/jpeg",
        "north/a.png": "image/png",
        "north/é ü.jpg": "image/jpeg",
    }
    job = coordinator.http.post("/v1/jobs", json=job_of(upload)).json()
    coordinator.scheduler.finish(job["id"])
    images = coordinator.http.get(f"/v1/jobs/{job['id']}/images").json()["images"]
    assert [image["name"] for image in images] == sorted(sent)
    assert [image["results"][0]["name"] for image in images] == ["b.jpg", "north/a.jpg", "north/é ü.jpg"]
    assert all(coordinator.http.get(image["sent"]).content == sent[image["name"]] for image in images)


def test_the_list_of_files_has_pages(coordinator, begin, send, jpeg):
    upload = begin()
    for number in range(5):
        send(upload, f"ü/{number}.jpg", jpeg)
    found, url = [], f"{upload}?limit=2"
    while url:
        page = coordinator.http.get(url).json()
        found += [file["name"] for file in page["files"]]
        url = page["next"]
    assert found == [f"ü/{number}.jpg" for number in range(5)]


def test_a_repeated_file_is_stored_once_and_a_different_one_is_refused(coordinator, begin, send, jpeg, png):
    upload = begin()
    assert [send(upload, "a.jpg", jpeg).status_code for _ in range(3)] == [201, 200, 200]
    refused = send(upload, "a.jpg", png)
    assert (refused.status_code, refused.json()["code"]) == (409, "file_differs")
    assert len(coordinator.stored()) == 1
    assert coordinator.http.get(upload).json()["count"] == 1


@pytest.mark.parametrize("header", ["Repr-Digest", "Digest"])
def test_a_digest_is_checked(coordinator, begin, send, jpeg, header):
    upload = begin()
    refused = send(upload, "a.jpg", jpeg[:-1], {header: digest(jpeg)})
    assert (refused.status_code, refused.json()["code"]) == (400, "digest_mismatch")
    assert coordinator.stored() == []
    assert send(upload, "a.jpg", jpeg, {header: f"md5=x, {digest(jpeg)}"}).status_code == 201
    for wrong in (b"sha-256=:abc:", "sha-256=:é:".encode("latin-1")):
        malformed = send(upload, "b.jpg", jpeg, {header: wrong})
        assert (malformed.status_code, malformed.json()["code"]) == (400, "invalid_digest")


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "a//b.jpg",
        "./a.jpg",
        "a\\b.jpg",
        "a\x01b.jpg",
        ".tmp/a.jpg",
        "x" * 256,
        "a/" * 600 + "b",
        "a\nb.jpg",
        "a.jpg\n",
        "\n",
        "a\n/b.jpg",
        "a\r\nb.jpg",
    ],
)
def test_names_that_are_not_accepted_are_refused(coordinator, begin, jpeg, name):
    answer = coordinator.http.put(f"{begin()}/files/{quote(name, safe='').replace('.', '%2E')}", content=jpeg)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in ("invalid_name", "name_too_long")
    assert coordinator.stored() == []


def test_a_folder_named_like_a_result_does_not_collide_with_it(coordinator, begin, send, jpeg):
    upload = begin()
    assert send(upload, "a-0.jpg/b.jpg", jpeg).json()["name"] == "a-0.jpg~/b.jpg"


def test_files_that_are_too_large_or_too_many_are_refused(serve, jpeg):
    coordinator = serve(limits=Limits(max_file_bytes=len(jpeg), max_images=2))
    url = coordinator.http.post("/v1/uploads").json()["url"]
    large = [
        coordinator.http.put(f"{url}/files/a", content=jpeg + b"x"),
        coordinator.http.put(f"{url}/files/a", content=iter([jpeg, b"x"])),
    ]
    assert [(answer.status_code, answer.json()["code"][:9]) for answer in large] == [(413, "too_large")] * 2
    assert coordinator.stored() == []
    statuses = [coordinator.http.put(f"{url}/files/{name}", content=jpeg).status_code for name in "abca"]
    assert statuses == [201, 201, 413, 200]


def test_only_files_that_are_not_images_fail_and_an_upload_of_those_is_refused(coordinator, begin, send, jpeg):
    upload = begin()
    send(upload, "notes.txt", b"not an image")
    refused = coordinator.http.post("/v1/jobs", json=job_of(upload))
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_type")
    send(upload, "empty.jpg", b"")
    send(upload, "a.jpg", jpeg)
    job = coordinator.http.post("/v1/jobs", json=job_of(upload)).json()
    assert (job["images"]["pending"], job["images"]["failed"]) == (2, 1)


def test_an_unknown_upload_or_one_beside_other_inputs_is_refused(coordinator, begin, send, jpeg):
    unknown = "/v1/uploads/01m8tz6v3yk4q2w5n7p9r1s3t5"
    assert send(unknown, "a.jpg", jpeg).status_code == coordinator.http.get(unknown).status_code == 404
    assert send("/v1/uploads/nonsense", "a.jpg", jpeg).status_code == 404
    upload = begin()
    empty = coordinator.http.post("/v1/jobs", json=job_of(upload)).json()
    gone = coordinator.http.post("/v1/jobs", json=job_of(unknown)).json()
    document = job_of(upload)
    document["inputs"].append("delft/1.jpg")
    beside = coordinator.http.post("/v1/jobs", json=document).json()
    assert [empty["code"], gone["code"], beside["code"]] == ["no_images", "source_not_found", "upload_not_alone"]
    assert gone["pointer"] == beside["pointer"] == "/inputs/0"


def test_jobs_share_an_upload_which_is_deleted_with_the_last_one(coordinator, begin, send, jpeg):
    upload = begin()
    send(upload, "a.jpg", jpeg)
    jobs = [coordinator.http.post("/v1/jobs", json=job_of(upload, name=name)).json()["id"] for name in "xy"]
    for job in jobs:
        coordinator.scheduler.finish(job)
    late = send(upload, "b.jpg", jpeg)
    assert (late.status_code, late.json()["code"]) == (409, "upload_in_use")
    assert coordinator.http.delete(upload).status_code == 409
    coordinator.http.delete(f"/v1/jobs/{jobs[0]}")
    assert len(coordinator.stored()) == 1
    coordinator.http.delete(f"/v1/jobs/{jobs[1]}")
    assert coordinator.stored() == []
    assert coordinator.http.get(upload).status_code == 404


def test_an_upload_can_be_deleted(coordinator, begin, send, jpeg):
    upload = begin()
    send(upload, "a.jpg", jpeg)
    assert coordinator.http.delete(upload).status_code == 204
    assert coordinator.stored() == []
    assert coordinator.http.delete(upload).status_code == 404


def test_the_same_key_and_upload_return_the_same_job(coordinator, begin, send, jpeg):
    upload = begin()
    send(upload, "a.jpg", jpeg)
    answers = [
        coordinator.http.post("/v1/jobs", json=job_of(upload), headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    other = coordinator.http.post("/v1/jobs", json=job_of(upload, priority=1), headers={"Idempotency-Key": "k"})
    assert other.status_code == 409


def test_a_dry_run_over_an_upload_counts_and_keeps_it(coordinator, begin, send, jpeg):
    upload = begin()
    send(upload, "a.jpg", jpeg)
    estimate = coordinator.http.post("/v1/jobs?dry_run=true", json=job_of(upload)).json()
    assert (estimate["images"], estimate["results"]) == (1, 1)
    assert send(upload, "b.jpg", jpeg).status_code == 201


def test_a_client_that_disconnects_leaves_nothing(coordinator, begin, jpeg):
    upload = begin()
    head = f"PUT {upload}/files/a.jpg HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", coordinator.port), timeout=20) as connection:
        connection.sendall(head + jpeg + bytes(2_000_000))
        wait_until(lambda: coordinator.stored())
    wait_until(lambda: not coordinator.stored())
    assert coordinator.http.get(upload).json()["count"] == 0


def test_idle_uploads_are_garbage_collected(coordinator, begin, send, jpeg):
    kept, left = begin(), begin()
    for upload in (kept, left):
        send(upload, "a.jpg", jpeg)
    job = coordinator.http.post("/v1/jobs", json=job_of(kept)).json()
    GarbageCollector(coordinator.services.repository, coordinator.store, abandoned_secs=3_600.0).collect()
    assert len(coordinator.stored()) == 2
    time.sleep(0.01)
    GarbageCollector(coordinator.services.repository, coordinator.store, abandoned_secs=0.001).collect()
    assert [key.split("/")[1] for key in coordinator.stored()] == [kept.rpartition("/")[2]]
    assert coordinator.http.get(left).status_code == 404
    assert coordinator.http.get(f"/v1/jobs/{job['id']}").status_code == 200


def test_the_sidecars_of_an_upload_belong_to_its_images(coordinator, begin, send, jpeg):
    upload = begin()
    for name in ("b/x.regions.json", "a/x.jpg.regions.json", "a/x.jpg", "b/x.jpg", "c/x.jpg"):
        send(upload, name, b"[]" if name.endswith("json") else jpeg)
    job = coordinator.http.post("/v1/jobs", json=job_of(upload)).json()
    rows = coordinator.services.repository.list_images(job["id"], limit=10)
    assert [(row.name, row.regions and coordinator.store.get(row.regions)) for row in rows] == [
        ("a/x.jpg", b"[]"),
        ("b/x.jpg", b"[]"),
        ("c/x.jpg", None),
    ]

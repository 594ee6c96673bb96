"""Quotas of a key: open jobs, open images, images a day, priority and event streams."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from api_server import ApiServer, Serve
from waiting import wait_until

from penstock.common.settings import Limits
from penstock.coordinator.auth.keys import Keys, make_key

PLAN = {"operations": [["blur", "median"]]}


@pytest.fixture
def keyed(serve: Serve) -> Serve:
    """Call it with fields of the key `delft` to serve a REST API whose client sends that key."""

    def start(limits: Limits | None = None, **fields: Any) -> ApiServer:
        (token, key), (_, other) = make_key("delft", **fields), make_key("gouda")
        coordinator = serve(keys=Keys([other, key]), limits=limits or Limits())
        coordinator.http.headers["Authorization"] = f"Bearer {token}"
        return coordinator

    return start


def send(
    coordinator: ApiServer, images: int = 1, headers: dict[str, str] | None = None, **document: Any
) -> httpx.Response:
    sent = [("files", (f"{number}.jpg", b"\xff\xd8\xff" + b"x" * 99)) for number in range(images)]
    data = {"job": json.dumps({**PLAN, **document})}
    answer: httpx.Response = coordinator.http.post("/v1/jobs", data=data, files=sent, headers=headers)
    return answer


def check_refused(answer: httpx.Response, limit: str) -> int:
    """Check that a request was refused; return Retry-After."""
    assert answer.status_code == 429, answer.text
    problem = answer.json()
    assert problem["code"] == "quota_exceeded"
    assert problem["detail"].startswith(f"{limit} of key delft: ")
    return int(answer.headers["retry-after"])


def test_open_jobs_are_limited_per_key(keyed):
    coordinator = keyed(max_open_jobs=2)
    first = send(coordinator).json()["id"]
    assert send(coordinator).status_code == 202
    assert check_refused(send(coordinator), "max_open_jobs") == 5
    coordinator.scheduler.finish(first)
    assert send(coordinator).status_code == 202


def test_a_quota_says_what_is_used_and_needed_and_when_it_is_free_again(keyed):
    coordinator = keyed(max_open_jobs=1, max_open_images=8, images_per_day=5)
    job = send(coordinator, images=3).json()["id"]
    detail = send(coordinator).json()["detail"]
    assert detail == (
        "max_open_jobs of key delft: 1 of 1 open jobs are used, 1 more are needed; free again when one of them ends"
    )
    coordinator.scheduler.finish(job)
    detail = send(coordinator, images=3).json()["detail"]
    assert detail.startswith(
        "images_per_day of key delft: 3 of 5 images today (UTC) are used, 3 more are needed; free again at midnight UTC"
    )


def test_a_dry_run_with_the_number_of_images_refuses_what_the_quota_would(keyed):
    coordinator = keyed(max_open_images=4)
    send(coordinator, images=3)
    url = "/v1/jobs?dry_run=true&images="
    check_refused(coordinator.http.post(f"{url}2", json=PLAN), "max_open_images")
    never = coordinator.http.post(f"{url}5", json=PLAN)
    assert (never.status_code, never.json()["code"]) == (422, "too_many_images")
    estimate = coordinator.http.post(f"{url}1", json=PLAN)
    assert (estimate.status_code, estimate.json()["images"]) == (200, 1)
    with_inputs = coordinator.http.post(f"{url}1", json=PLAN | {"inputs": ["a.jpg"]})
    assert with_inputs.json()["code"] == "inputs_and_files"


def test_each_job_of_process_counts(keyed):
    coordinator = keyed(max_open_jobs=2)
    actions = [("actions", (None, json.dumps({**PLAN, "output": "png"})))] * 3
    check_refused(
        coordinator.http.post("/process", files=[*actions, ("files", ("a.jpg", b"\xff\xd8\xffx"))]), "max_open_jobs"
    )
    assert coordinator.stored() == []
    assert coordinator.services.repository.usage("delft", 0.0).open_jobs == 0


def test_open_images_are_limited_over_all_jobs_of_a_key(keyed):
    coordinator = keyed(max_open_images=5)
    first = send(coordinator, images=3).json()["id"]
    check_refused(send(coordinator, images=3), "max_open_images")
    assert send(coordinator, images=2).status_code == 202
    check_refused(send(coordinator), "max_open_images")
    coordinator.scheduler.finish(first, count=1)
    assert send(coordinator).status_code == 202
    assert coordinator.services.repository.usage("delft", 0.0).open_images == 5


def test_a_job_that_can_never_fit_is_a_422(keyed):
    refused = send(keyed(max_open_images=5), images=6)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_images")
    assert "accepted are 5" in refused.json()["detail"]


def test_images_of_deleted_jobs_count_for_the_day(keyed):
    coordinator = keyed(images_per_day=4)
    job = send(coordinator, images=3).json()["id"]
    coordinator.scheduler.finish(job)
    assert coordinator.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert 1 <= check_refused(send(coordinator, images=2), "images_per_day") <= 86_400
    assert send(coordinator).status_code == 202
    check_refused(send(coordinator), "images_per_day")


def test_concurrent_jobs_cannot_exceed_the_quota(keyed):
    coordinator = keyed(max_open_images=10, images_per_day=10)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(send(coordinator, images=4).status_code)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {202, 429}
    usage = coordinator.services.repository.usage("delft", time.time())
    assert usage.open_images == usage.images_today == 4 * answers.count(202) <= 8


def test_a_refused_job_leaves_nothing_behind(keyed):
    coordinator = keyed(max_open_images=3)
    send(coordinator, images=3)
    before = coordinator.stored()
    check_refused(send(coordinator, images=1), "max_open_images")
    assert coordinator.stored() == before
    assert len(coordinator.http.get("/v1/jobs").json()["jobs"]) == 1


def test_a_dry_run_uses_no_quota(keyed):
    coordinator = keyed(max_open_jobs=1)
    send(coordinator)
    data, sent = {"job": json.dumps(PLAN)}, [("files", ("a.jpg", b"\xff\xd8\xffx"))]
    assert coordinator.http.post("/v1/jobs?dry_run=true", data=data, files=sent).status_code == 200


def test_a_keys_weight_does_not_change_its_jobs_weights(keyed):
    coordinator = keyed(weight=5)
    assert send(coordinator, weight=3).json()["weight"] == 3
    assert coordinator.services.keys.weights == {"delft": 5, "gouda": 1}


def test_the_priority_is_limited_per_key(keyed):
    coordinator = keyed(max_priority=2)
    assert send(coordinator, priority=2).status_code == 202
    refused = send(coordinator, priority=3)
    assert (refused.status_code, refused.json()["code"]) == (403, "priority_not_allowed")
    assert refused.json()["pointer"] == "/priority"
    actions = {"actions": json.dumps([PLAN, PLAN | {"priority": 3}])}
    among = coordinator.http.post("/process", data=actions, files=[("files", ("a.jpg", b"\xff\xd8\xffx"))])
    assert (among.status_code, among.json()["pointer"]) == (403, "/actions/1/priority")
    without_images = coordinator.http.post("/v1/jobs?dry_run=true", json=PLAN | {"priority": 3})
    assert without_images.json()["code"] == "priority_not_allowed"
    assert send(keyed(admin=True), priority=100).status_code == 202


def fail_all(coordinator: ApiServer, job: str) -> None:
    images = coordinator.http.get(f"/v1/jobs/{job}/images").json()["images"]
    coordinator.scheduler.finish(job, fail=dict.fromkeys([image["name"] for image in images], "internal"))


def test_a_retry_respects_the_limit_of_open_jobs(keyed):
    coordinator = keyed(max_open_jobs=1, images_per_day=2)
    jobs = []
    for _ in range(2):
        jobs.append(send(coordinator).json()["id"])
        fail_all(coordinator, jobs[-1])
    assert coordinator.http.post(f"/v1/jobs/{jobs[0]}/retry").status_code == 202, "a retry does not count for the day"
    check_refused(coordinator.http.post(f"/v1/jobs/{jobs[1]}/retry"), "max_open_jobs")
    assert coordinator.http.post(f"/v1/jobs/{jobs[0]}/retry").json()["code"] == "job_not_retryable"
    coordinator.scheduler.finish(jobs[0])
    assert coordinator.http.post(f"/v1/jobs/{jobs[1]}/retry").status_code == 202


def test_a_retry_counts_its_images(keyed):
    coordinator = keyed(max_open_images=3)
    job = send(coordinator, images=3).json()["id"]
    fail_all(coordinator, job)
    send(coordinator, images=2)
    check_refused(coordinator.http.post(f"/v1/jobs/{job}/retry"), "max_open_images")
    check_refused(coordinator.http.post(f"/v1/jobs/{job}/retry", json={"images": [0, 1]}), "max_open_images")
    answer = coordinator.http.post(f"/v1/jobs/{job}/retry", json={"images": [2, 2]})
    assert (answer.status_code, answer.json()["retried"]) == (202, 1)


def test_concurrent_retries_cannot_exceed_the_quota(keyed):
    coordinator = keyed(max_open_jobs=2)
    jobs = []
    for _ in range(6):
        jobs.append(send(coordinator).json()["id"])
        fail_all(coordinator, jobs[-1])
    with ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(lambda job: coordinator.http.post(f"/v1/jobs/{job}/retry").status_code, jobs))
    assert sorted(answers) == [202, 202, 429, 429, 429, 429]


def test_a_retry_without_failed_images_uses_no_quota(keyed):
    coordinator = keyed(max_open_jobs=1)
    done = send(coordinator).json()["id"]
    coordinator.scheduler.finish(done)
    send(coordinator)
    answer = coordinator.http.post(f"/v1/jobs/{done}/retry")
    assert (answer.status_code, answer.json()["retried"]) == (202, 0)


def test_a_repeated_request_gets_its_job_whatever_is_open(keyed):
    coordinator = keyed(max_open_jobs=1)
    coordinator.http.headers["Idempotency-Key"] = "k"
    first, again = send(coordinator), send(coordinator)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    coordinator.http.headers["Idempotency-Key"] = "another"
    check_refused(send(coordinator), "max_open_jobs")


def test_event_streams_are_limited_per_key(keyed):
    coordinator = keyed(limits=Limits(max_event_streams=2))
    job = send(coordinator).json()
    events = job["links"]["events"]
    with coordinator.http.stream("GET", events), coordinator.http.stream("GET", events):
        with coordinator.http.stream("GET", events) as refused:
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert json.loads(refused.read())["code"] == "too_many_streams"
        assert coordinator.http.get(job["url"]).status_code == 200
    wait_until(lambda: can_follow(coordinator, events))


def can_follow(coordinator: ApiServer, events: str) -> bool:
    with coordinator.http.stream("GET", events) as answer:
        return bool(answer.status_code == 200)


def test_requests_that_wait_for_jobs_are_limited_per_key(keyed):
    coordinator = keyed(limits=Limits(max_waiting=1))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(send, coordinator, headers={"Prefer": "wait=60"})
        wait_until(coordinator.services.repository.dispatchable)
        refused = send(coordinator, headers={"Prefer": "wait=60"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_waiting")
        assert send(coordinator).status_code == 202
        [first, _] = coordinator.services.repository.dispatchable()
        coordinator.scheduler.finish(first.id)
        assert waiting.result(30).status_code == 200
    assert send(coordinator, headers={"Prefer": "wait=0"}).status_code == 202


def begin_upload(coordinator: ApiServer) -> httpx.Response:
    answer: httpx.Response = coordinator.http.post("/v1/uploads")
    return answer


def test_open_uploads_are_limited_per_key_until_a_job_reads_them(keyed, jpeg):
    coordinator = keyed(max_open_uploads=2)
    first = begin_upload(coordinator).json()
    assert begin_upload(coordinator).status_code == 201
    check_refused(begin_upload(coordinator), "max_open_uploads")
    assert coordinator.http.put(f"{first['url']}/files/x.jpg", content=jpeg).status_code == 201
    document = {**PLAN, "inputs": [{"upload": first["id"]}]}
    assert coordinator.http.post("/v1/jobs", json=document).status_code == 202
    assert begin_upload(coordinator).status_code == 201
    check_refused(begin_upload(coordinator), "max_open_uploads")


def test_bytes_in_open_uploads_are_limited_per_key(keyed):
    coordinator = keyed(max_open_upload_bytes=1_000)
    upload = begin_upload(coordinator).json()["url"]
    for name in "ab":
        assert coordinator.http.put(f"{upload}/files/{name}", content=b"x" * 400).status_code == 201
    check_refused(coordinator.http.put(f"{upload}/files/c", content=b"x" * 400), "max_open_upload_bytes")
    check_refused(coordinator.http.put(f"{upload}/files/c", content=iter([b"x" * 400])), "max_open_upload_bytes")
    assert coordinator.http.put(f"{upload}/files/c", content=b"x" * 200).status_code == 201
    assert coordinator.http.get(upload).json()["size"] == 1_000
    check_refused(send(coordinator), "max_open_upload_bytes")  # a form is received like an upload
    assert coordinator.http.delete(upload).status_code == 204
    wait_until(lambda: send(coordinator).status_code == 202)  # the database is asked every few seconds


def test_bytes_count_while_they_arrive(keyed):
    coordinator = keyed(max_open_upload_bytes=1_200_000)
    upload = begin_upload(coordinator).json()["url"]
    go_on = threading.Event()

    def slowly():
        yield b"x" * 1_100_000
        go_on.wait(60)
        yield b"x"

    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=coordinator.http.base_url) as other:
        headers = {"Authorization": coordinator.http.headers["Authorization"]}
        slow = pool.submit(other.put, f"{upload}/files/slow", content=slowly(), headers=headers, timeout=120)
        try:
            wait_until(coordinator.stored)  # its first MiB
            files = [("files", ("x.jpg", b"\xff\xd8\xff" + b"x" * 200_000))]
            check_refused(coordinator.http.post("/v1/jobs", files=files), "max_open_upload_bytes")
        finally:
            go_on.set()
        assert slow.result().status_code == 201


def test_the_server_has_limits_for_all_keys_together(serve):
    tokens, keys = zip(*(make_key(name) for name in ("delft", "gouda")), strict=True)
    coordinator = serve(keys=Keys(keys), limits=Limits(max_server_uploads=2, max_server_upload_bytes=1_000))
    uploads = []
    for token in tokens:
        coordinator.http.headers["Authorization"] = f"Bearer {token}"
        uploads.append(begin_upload(coordinator).json()["url"])
        answer = coordinator.http.put(f"{uploads[-1]}/files/x", content=b"x" * 600)
    assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")
    assert "PENSTOCK_MAX_SERVER_UPLOAD_BYTES" in answer.json()["detail"]
    refused = begin_upload(coordinator)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_uploads")

"""`/v1/jobs`: submit, list, progress, cancel, retry, delete."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest
from api_server import ApiServer, Serve
from waiting import wait_until

from penstock.common.model.errors import HELP
from penstock.common.settings import Limits
from penstock.coordinator.ports.repository import ALL_OWNERS, Job
from penstock.coordinator.ports.scheduler import Forecast


def test_a_submitted_job_returns_202_with_its_url_and_plan(coordinator: ApiServer, jpeg: bytes) -> None:
    document = {"operations": [["resize", "20x30"], {"op": "blur", "method": "median"}], "name": "delft", "weight": 3}
    answer = coordinator.http.post("/v1/jobs", data={"job": json.dumps(document)}, files={"files": ("a.jpg", jpeg)})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["url"] == f"/v1/jobs/{job['id']}"
    assert job["operations"][0] == {"op": "resize", "width": 20, "height": 30}
    assert (job["name"], job["weight"], job["state"]) == ("delft", 3, "accepted")
    shown = coordinator.http.get(job["url"]).json()
    assert shown == job
    assert coordinator.http.get(job["links"]["images"]).json()["images"][0]["name"] == "a.jpg"


@pytest.mark.parametrize(
    ("document", "code", "pointer"),
    [
        ("[1]", "invalid_document", None),
        ("{}", "invalid_document", "/operations"),
        ('{"operations": [["resize", "0x5"]]}', "invalid_parameter", "/operations/0"),
        ('{"operations": [["blur", "median"], 7]}', "invalid_operation", "/operations/1"),
        ('{"operations": [], "output": "gif"}', "invalid_document", "/output"),
        ('{"operations": [], "quality": 101}', "invalid_document", "/quality"),
        ('{"operations": [], "labels": {"a/b": 5}}', "invalid_document", "/labels/a~1b"),
        ('{"operations": [], "colour": "red"}', "unknown_field", "/colour"),
        ('{"operations": [], "webhook": {"address": "x"}}', "unknown_field", "/webhook/address"),
        ('{"operations": [], "inputs": [{"suffix": "x"}]}', "unknown_field", "/inputs/0/suffix"),
        ('{"operations": [], "inputs": [7]}', "invalid_document", "/inputs/0"),
        ('{"operations": [], "name": "a\\u0000b"}', "invalid_document", "/name"),
        ('{"operations": [["split", true]]}', "no_images", None),
    ],
)
def test_an_invalid_document_is_refused_with_a_pointer(
    coordinator: ApiServer, document: str, code: str, pointer: str | None
) -> None:
    answer = coordinator.http.post("/v1/jobs", content=document, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"], problem.get("pointer")) == (422, code, pointer), problem


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"NaN", b'"\\ud800"', b"[" * 100_000, b'{"a": 1e}', b"9" * 10_000]
)
def test_invalid_json_is_malformed(coordinator: ApiServer, body: bytes) -> None:
    answer = coordinator.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


def test_a_document_over_its_limit_is_refused(coordinator: ApiServer) -> None:
    body = json.dumps({"operations": [], "name": "x" * 1_100_000})
    answer = coordinator.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large_request")


def test_a_form_has_one_document_and_no_inputs_beside_files(coordinator: ApiServer, jpeg: bytes) -> None:
    plain = json.dumps({"operations": [["blur", "median"]]})
    mixed = json.dumps({"operations": [["blur", "median"]], "inputs": ["a.jpg"]})
    for texts, code in ([], "no_job"), ([plain, plain], "no_job"), ([mixed], "inputs_and_files"):
        answer = coordinator.http.post("/v1/jobs", data={"job": texts}, files={"files": ("a.jpg", jpeg)})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert coordinator.stored() == []


def test_jobs_are_listed_newest_first_in_pages_without_gaps(coordinator: ApiServer, jpeg: bytes) -> None:
    ids = [coordinator.submit(["a.jpg"], jpeg)["id"] for _ in range(5)]
    seen: list[str] = []
    url: str | None = "/v1/jobs?limit=2"
    while url:
        page = coordinator.http.get(url).json()
        assert len(page["jobs"]) <= 2
        seen += [job["id"] for job in page["jobs"]]
        url = page["next"]
    assert seen == sorted(ids, reverse=True)


def test_jobs_are_listed_by_state_and_by_label(coordinator: ApiServer, jpeg: bytes) -> None:
    delft = coordinator.submit(["a.jpg"], jpeg, labels={"city": "delft"})
    leiden = coordinator.submit(["a.jpg"], jpeg, labels={"city": "leiden"})
    coordinator.scheduler.finish(leiden["id"])

    def listed(**query: str) -> list[str]:
        return [job["id"] for job in coordinator.http.get("/v1/jobs", params=query).json()["jobs"]]

    assert listed(label="city=delft") == [delft["id"]]
    assert listed(state="succeeded") == [leiden["id"]]
    assert listed(state="succeeded", label="city=delft") == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "invalid_parameter"),
        ("limit=1001", 422, "invalid_parameter"),
        ("limit=many", 422, "invalid_parameter"),
        ("state=receiving", 422, "invalid_parameter"),
        ("state=lost", 422, "invalid_parameter"),
        ("label=delft", 422, "invalid_parameter"),
        ("cursor=%20", 400, "invalid_cursor"),
        ("cursor=%C3%A9", 400, "invalid_cursor"),
        ("cursor=MTIz", 400, "invalid_cursor"),
        ("cursor=" + "A" * 201, 422, "invalid_parameter"),
    ],
)
def test_an_invalid_query_is_refused(coordinator: ApiServer, query: str, status: int, code: str) -> None:
    answer = coordinator.http.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("job", ["x", "0" * 26, "i" * 26, "%00", "..%2f..", "a" * 10_000])
def test_an_unknown_job_is_not_found(coordinator: ApiServer, job: str) -> None:
    for method, suffix in ("GET", ""), ("GET", "/results.zip"), ("GET", "/events"), ("DELETE", ""), ("POST", "/cancel"):
        answer = coordinator.http.request(method, f"/v1/jobs/{job}{suffix}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_progress_includes_images_that_ended_and_images_in_flight(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit([f"{n}.jpg" for n in range(10)], jpeg)
    coordinator.scheduler.finish(job["id"], count=3, fail={"0.jpg": "corrupt_image"})
    coordinator.services.repository.take_pending(job["id"], 5)
    coordinator.scheduler.job_positions[job["id"]] = [(1, 1), (0, 2), (1, 0)]
    coordinator.scheduler.speeds["job"] = 2.0
    coordinator.scheduler.expected = Forecast("blur", 3.5)
    shown = coordinator.http.get(job["url"]).json()
    fields = ("step", "waiting", "running", "done", "failed")
    assert [tuple(step[field] for field in fields) for step in shown["steps"]] == [
        ("split", 3, 1, 5, 1),
        ("blur", 0, 2, 3, 0),
        ("encode", 1, 0, 2, 0),
    ]
    assert shown["steps"][0]["work_seconds"] == 0.5
    assert shown["state"] == "running"
    assert (shown["images_per_second"], shown["eta_seconds"], shown["bottleneck"]) == (2.0, 3.5, "blur")


def test_a_cancelled_job_keeps_its_results_and_cannot_be_retried(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg", "b.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"], count=1)
    answer = coordinator.http.post(f"{job['url']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert coordinator.http.post(f"{job['url']}/cancel").status_code == 202
    assert len(coordinator.http.get(f"{job['url']}/results").json()["results"]) == 1
    retried = coordinator.http.post(f"{job['url']}/retry")
    assert (retried.status_code, retried.json()["code"]) == (409, "job_not_retryable")


def test_a_job_that_has_ended_cannot_be_cancelled(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"])
    answer = coordinator.http.post(f"{job['url']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_ended")


def test_all_failed_images_or_some_are_retried(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg", "b.jpg", "c.jpg"], jpeg)
    failing = {"a.jpg": "step_timeout", "b.jpg": "step_crashed"}
    coordinator.scheduler.finish(job["id"], fail=failing)
    answer = coordinator.http.post(f"{job['url']}/retry", json={"images": [1]})
    assert (answer.status_code, answer.json()["retried"], answer.json()["run"]) == (202, 1, 1)
    coordinator.scheduler.finish(job["id"])
    assert coordinator.http.post(f"{job['url']}/retry").json()["retried"] == 1
    coordinator.scheduler.finish(job["id"])
    assert coordinator.http.get(job["url"]).json()["state"] == "succeeded"


def test_one_group_of_failures_is_retried_by_its_code(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], jpeg)
    failing = {"a.jpg": "step_timeout", "b.jpg": "step_crashed", "c.jpg": "corrupt_image"}
    coordinator.scheduler.finish(job["id"], fail=failing)

    def retry(**document: Any) -> Any:
        return coordinator.http.post(f"{job['url']}/retry", json=document)

    refused = retry(code="step_timout")
    assert (refused.status_code, refused.json()["code"], refused.json()["pointer"]) == (422, "not_failed", "/code")
    assert "this job's failures are corrupt_image, step_crashed, step_timeout" in refused.json()["detail"]
    assert "both images and code" in retry(code="step_timeout", images=[0]).json()["detail"]
    assert retry(code="corrupt_image").json()["retried"] == 0
    retried = retry(code="step_timeout").json()
    assert (retried["retried"], [group["code"] for group in retried["failures"]]) == (
        1,
        ["corrupt_image", "step_crashed"],
    )
    coordinator.scheduler.finish(job["id"])
    assert retry(code="corrupt_image", all=True).json()["retried"] == 1


def test_a_retry_leaves_out_images_that_it_would_not_help_unless_asked_for(coordinator: ApiServer, jpeg: bytes) -> None:
    names = ["a.jpg", "b.jpg", "c.jpg"]
    job = coordinator.submit(names, jpeg)
    failing = {"a.jpg": "step_timeout", "b.jpg": "corrupt_image", "c.jpg": "corrupt_image"}
    coordinator.scheduler.finish(job["id"], fail=failing)
    shown = coordinator.http.get(job["url"]).json()
    assert shown["failures"] == [
        {"code": code, "images": images, "retryable": retryable, "help": HELP[code]}
        for code, images, retryable in (("corrupt_image", 2, 0), ("step_timeout", 1, 1))
    ]
    page = coordinator.http.get(f"{job['url']}/images", params={"code": "corrupt_image", "limit": 1}).json()
    assert [image["name"] for image in page["images"]] == ["b.jpg"]
    page = coordinator.http.get(page["next"]).json()
    assert ([image["name"] for image in page["images"]], page["next"]) == (["c.jpg"], None)
    assert coordinator.http.post(f"{job['url']}/retry").json()["retried"] == 1
    coordinator.scheduler.finish(job["id"])
    assert coordinator.http.post(f"{job['url']}/retry").json()["retried"] == 0
    assert coordinator.http.post(f"{job['url']}/retry", json={"images": [1]}).json()["retried"] == 1
    coordinator.scheduler.finish(job["id"], fail=failing)
    assert coordinator.http.post(f"{job['url']}/retry", json={"all": True}).json()["retried"] == 2


def test_duration_and_rate_leave_out_the_time_between_two_runs(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg", "b.jpg"], jpeg)
    assert coordinator.http.get(job["url"]).json()["worked_seconds"] is None
    coordinator.scheduler.finish(job["id"], fail={"a.jpg": "step_timeout"})
    first = coordinator.http.get(job["url"]).json()["worked_seconds"]
    coordinator.http.post(f"{job['url']}/retry")
    coordinator.scheduler.finish(job["id"])
    shown = coordinator.http.get(job["url"]).json()
    spent = datetime.fromisoformat(shown["finished_at"]) - datetime.fromisoformat(shown["started_at"])
    assert first <= shown["worked_seconds"] < spent.total_seconds()
    assert shown["images_per_second"] == pytest.approx(2 / shown["worked_seconds"])
    assert [sum(shown["throughput"][kind]) for kind in ("done", "failed")] == [2, 1]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"images": [0], "all": true}', 422, "invalid_document"),
        (b'{"images": [0, 99]}', 422, "not_failed"),
        (b'{"images": []}', 422, "invalid_document"),
        (b'{"images": ["a"]}', 422, "invalid_document"),
        (b'{"picture": 1}', 422, "unknown_field"),
        (b'{"images": [99999999999999999999]}', 422, "invalid_document"),
        (b"nothing", 400, "invalid_json"),
    ],
)
def test_an_invalid_retry_is_refused(coordinator: ApiServer, jpeg: bytes, body: bytes, status: int, code: str) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"], fail={"a.jpg": "internal"})
    answer = coordinator.http.post(f"{job['url']}/retry", content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_only_a_finished_job_is_deleted_with_its_files(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    assert coordinator.http.delete(job["url"]).json()["code"] == "job_open"
    coordinator.scheduler.finish(job["id"])
    assert coordinator.http.delete(job["url"]).status_code == 204
    assert coordinator.http.get(job["url"]).status_code == 404
    assert coordinator.stored() == []


def test_a_job_with_on_failure_cancel_is_cancelled_at_once_for_a_bad_file(coordinator: ApiServer, jpeg: bytes) -> None:
    document = json.dumps({"operations": [["blur", "median"]], "on_failure": "cancel"})
    files = [("files", ("a.jpg", jpeg)), ("files", ("b.jpg", b"not an image"))]
    answer = coordinator.http.post("/v1/jobs", data={"job": document}, files=files)
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")


def test_a_finished_job_has_an_average_rate_and_no_eta(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"])
    found: Job = coordinator.services.repository.get_job(job["id"], ALL_OWNERS)
    shown = coordinator.http.get(job["url"]).json()
    assert found.started_at is not None
    assert found.finished_at is not None
    assert shown["images_per_second"] == pytest.approx(1 / (found.finished_at - found.started_at))
    assert shown["eta_seconds"] is None


def submit_and_wait(coordinator: ApiServer, jpeg: bytes, secs: object, key: str = "") -> httpx.Response:
    headers = {"Prefer": f"wait={secs}", **({"Idempotency-Key": key} if key else {})}
    document = json.dumps({"operations": [["blur", "median"]]})
    return coordinator.http.post("/v1/jobs", data={"job": document}, files={"files": ("a.jpg", jpeg)}, headers=headers)


def test_a_request_that_waits_is_answered_when_the_job_has_ended(coordinator: ApiServer, jpeg: bytes) -> None:
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(submit_and_wait, coordinator, jpeg, 30)
        wait_until(coordinator.services.repository.dispatchable)
        [job] = coordinator.services.repository.dispatchable()
        assert not asked.done()
        coordinator.scheduler.finish(job.id)
        answer = asked.result(30)
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"
    assert answer.headers["preference-applied"] == "wait=30"


def test_a_request_waits_no_longer_than_it_prefers_and_than_the_server_allows(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_wait_secs=0.5))
    began = time.monotonic()
    answer = submit_and_wait(coordinator, jpeg, 30)
    assert time.monotonic() - began >= 0.5
    assert (answer.status_code, answer.json()["state"]) == (202, "accepted")
    assert answer.headers["preference-applied"] == "wait=0.5"
    assert submit_and_wait(coordinator, jpeg, 0).status_code == 202
    refused = submit_and_wait(coordinator, jpeg, "long")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_preference")


def test_a_repeated_request_that_waits_says_by_its_status_whether_the_job_has_ended(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_wait_secs=0.2))
    first = submit_and_wait(coordinator, jpeg, 30, "key")
    again = submit_and_wait(coordinator, jpeg, 30, "key")
    assert (first.status_code, again.status_code) == (202, 202)
    coordinator.scheduler.finish(first.json()["id"])
    ended = submit_and_wait(coordinator, jpeg, 30, "key")
    assert (ended.status_code, ended.json()["id"]) == (200, first.json()["id"])


def test_a_dry_run_does_not_wait(coordinator: ApiServer, jpeg: bytes) -> None:
    document = json.dumps({"operations": [["blur", "median"]]})
    answer = coordinator.http.post(
        "/v1/jobs?dry_run=true",
        data={"job": document},
        files={"files": ("a.jpg", jpeg)},
        headers={"Prefer": "wait=60"},
    )
    assert (answer.status_code, answer.json()["images"]) == (200, 1)


def test_the_job_of_a_client_that_leaves_while_it_waits_goes_on(coordinator: ApiServer, jpeg: bytes) -> None:
    with pytest.raises(httpx.ReadTimeout):
        coordinator.http.post(
            "/v1/jobs",
            data={"job": json.dumps({"operations": [["blur", "median"]]})},
            files={"files": ("a.jpg", jpeg)},
            headers={"Prefer": "wait=60"},
            timeout=httpx.Timeout(20, read=0.5),
        )
    [job] = coordinator.http.get("/v1/jobs").json()["jobs"]
    coordinator.scheduler.finish(job["id"])
    assert coordinator.http.get(job["url"]).json()["state"] == "succeeded"

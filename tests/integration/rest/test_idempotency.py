"""`Idempotency-Key` and `?dry_run`: repeated requests make one job, and a dry run makes none."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, Serve

from penstock.common.input_root import InputRoot
from penstock.common.model.errors import UnavailableError

DOCUMENT = {"operations": [["resize", "20x30"], ["split", True]], "name": "delft"}


def send(
    coordinator: ApiServer, data: bytes, document: Any = DOCUMENT, key: str = "k1", name: str = "a.jpg"
) -> httpx.Response:
    """Submit one file with an idempotency key."""
    answer: httpx.Response = coordinator.http.post(
        "/v1/jobs",
        data={"job": json.dumps(document)},
        files={"files": (name, data)},
        headers={"Idempotency-Key": key},
    )
    return answer


def test_an_equal_request_returns_the_same_job_however_it_is_written(coordinator: ApiServer, jpeg: bytes) -> None:
    first = send(coordinator, jpeg)
    stored = coordinator.stored()
    same = {"name": "delft", "operations": [{"op": "resize", "width": 20, "height": 30}, "split"], "output": "jpg"}
    again = send(coordinator, jpeg, same)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    assert coordinator.stored() == stored


@pytest.mark.parametrize("change", ["operations", "bytes", "name"])
def test_a_different_request_with_the_same_key_is_a_conflict(
    coordinator: ApiServer, jpeg: bytes, png: bytes, change: str
) -> None:
    send(coordinator, jpeg)
    stored = coordinator.stored()
    other = {"operations": [["split", True]]} if change == "operations" else DOCUMENT
    answer = send(coordinator, png if change == "bytes" else jpeg, other, name="b.jpg" if change == "name" else "a.jpg")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_taken")
    assert coordinator.stored() == stored


def test_equal_requests_at_the_same_time_make_one_job(coordinator: ApiServer, jpeg: bytes) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(coordinator, jpeg * 100), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(coordinator.http.get("/v1/jobs").json()["jobs"]) == 1
    assert len(coordinator.stored()) == 1


def test_a_refused_request_does_not_use_up_its_key(coordinator: ApiServer, jpeg: bytes) -> None:
    assert send(coordinator, b"not an image").status_code == 415
    assert send(coordinator, jpeg).status_code == 202


@pytest.mark.parametrize("key", ["", "a b", "k" * 256])
def test_an_invalid_key_is_malformed(coordinator: ApiServer, jpeg: bytes, key: str) -> None:
    answer = send(coordinator, jpeg, key=key)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_a_key_works_for_a_document_with_inputs(serve: Serve, jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg)
    coordinator = serve(input_root=InputRoot(tmp_path / "in"))
    body = {**DOCUMENT, "inputs": ["a.jpg"]}
    first, again = (coordinator.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in "12")
    assert first.json()["id"] == again.json()["id"]


def test_a_dry_run_estimates_a_form_and_stores_nothing(coordinator: ApiServer, jpeg: bytes) -> None:
    coordinator.scheduler.speeds["split"] = 0.5
    files = [("files", ("a.jpg", jpeg)), ("files", ("b.jpg", jpeg)), ("files", ("c.jpg", b""))]
    answer = coordinator.http.post("/v1/jobs?dry_run=true", data={"job": json.dumps(DOCUMENT)}, files=files)
    estimate = answer.json()
    assert answer.status_code == 200
    assert (estimate["valid"], estimate["images"], estimate["failing"]) == (True, 3, 1)
    assert (estimate["results_per_image"], estimate["results"]) == (4, 8)
    assert estimate["steps"] == [
        {"step": "resize", "seconds_per_image": None, "seconds": None},
        {"step": "split", "seconds_per_image": 0.5, "seconds": 1.0},
        {"step": "encode", "seconds_per_image": None, "seconds": None},
    ]
    assert coordinator.stored() == []
    assert coordinator.http.get("/v1/jobs").json()["jobs"] == []


def test_a_dry_run_counts_inputs_and_refuses_what_a_job_would(serve: Serve, jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    coordinator = serve(input_root=InputRoot(tmp_path / "in"))
    body = {**DOCUMENT, "inputs": [{"prefix": "."}]}
    assert coordinator.http.post("/v1/jobs?dry_run=1", json=body).json()["code"] == "no_images"
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg)
    assert coordinator.http.post("/v1/jobs?dry_run=1", json=body).json()["images"] == 1
    bad = {"operations": [["resize", "big"]], "inputs": [{"prefix": "."}]}
    assert coordinator.http.post("/v1/jobs?dry_run=1", json=bad).json()["code"] == "invalid_parameter"
    assert coordinator.services.repository.count_open_jobs() == 0


def test_a_dry_run_estimates_images_that_are_not_sent_yet(coordinator: ApiServer) -> None:
    answer = coordinator.http.post("/v1/jobs?dry_run=true&images=30", json=DOCUMENT)
    estimate = answer.json()
    assert answer.status_code == 200
    assert (estimate["images"], estimate["failing"], estimate["results"]) == (30, 0, 120)
    refused = coordinator.http.post("/v1/jobs?dry_run=true&images=9000000", json=DOCUMENT)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_images")
    assert coordinator.http.post("/v1/jobs?images=30", json=DOCUMENT).json()["code"] == "no_images"


def test_a_lost_database_leaves_neither_a_job_nor_a_used_key(
    coordinator: ApiServer, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise UnavailableError("database", "gone at /secret/place")

    with monkeypatch.context() as patched:
        patched.setattr(coordinator.services.repository, "accept_job", fail)
        answer = send(coordinator, jpeg)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "secret" not in answer.text
    assert coordinator.services.repository.count_open_jobs() == 0
    assert send(coordinator, jpeg).status_code == 202


def take_no_further(coordinator: ApiServer, monkeypatch: pytest.MonkeyPatch, method: str, jpeg: bytes) -> None:
    """Run a request up to a method of the repository, where its coordinator dies."""
    repository = coordinator.services.repository

    def die(*_: Any) -> None:
        raise UnavailableError("database", "gone, and its row stays")

    with monkeypatch.context() as patched:
        patched.setattr(repository, method, die)
        patched.setattr(repository, "discard_receiving", lambda *_: [])
        assert send(coordinator, jpeg).status_code == 503


@pytest.mark.parametrize("method", ["add_images", "accept_job"])
def test_the_key_of_a_request_whose_coordinator_died_becomes_free(
    serve: Serve, jpeg: bytes, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    coordinator = serve(replay_secs=0.2)
    take_no_further(coordinator, monkeypatch, method, jpeg)
    answers = [send(coordinator, jpeg) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert coordinator.services.repository.count_open_jobs() == 1


def test_a_request_considered_abandoned_creates_no_second_job(
    serve: Serve, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = serve(replay_secs=0.2)
    repository = coordinator.services.repository
    accept, begun, go_on = repository.accept_job, threading.Event(), threading.Event()

    def stall(*job: Any) -> Any:
        if not begun.is_set():
            begun.set()
            go_on.wait(30)
        return accept(*job)

    monkeypatch.setattr(repository, "accept_job", stall)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(send, coordinator, jpeg)
        assert begun.wait(30)
        quick = send(coordinator, jpeg)
        go_on.set()
        late = slow.result()
    assert quick.status_code == 202
    assert (late.status_code, late.json()["code"]) == (409, "request_in_progress")
    assert [job["id"] for job in coordinator.http.get("/v1/jobs").json()["jobs"]] == [quick.json()["id"]]
    assert send(coordinator, jpeg).json()["id"] == quick.json()["id"]

"""What a key may have: of jobs, of images, of everybody's time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from penstock.coordinator.keys import Keys, make_key

PLAN = {"operations": [["blur", "median"]]}


@pytest.fixture
def keyed(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Serves a coordinator with one key `delft`, as its fields say; the client sends it."""

    def start(**fields: Any) -> Any:
        (token, key), (_, other) = make_key("delft", **fields), make_key("gouda")
        coordinator = serve(keys=Keys([other, key]))
        coordinator.http.headers["Authorization"] = f"Bearer {token}"
        return coordinator

    return start


def send(coordinator: Any, images: int = 1, **document: Any) -> httpx.Response:
    sent = [("files", (f"{number}.jpg", b"\xff\xd8\xff" + b"x" * 99)) for number in range(images)]
    data = {"job": json.dumps({**PLAN, **document})}
    answer: httpx.Response = coordinator.http.post("/v1/jobs", data=data, files=sent)
    return answer


def check_refused(answer: httpx.Response, limit: str) -> int:
    """Check a refusal; return after how many seconds to ask again."""
    assert answer.status_code == 429, answer.text
    problem = answer.json()
    assert problem["code"] == "quota_exceeded"
    assert problem["detail"].startswith(f"{limit} of key delft: ")
    return int(answer.headers["retry-after"])


def test_no_more_jobs_are_open_than_a_key_may_have(keyed):
    coordinator = keyed(max_open_jobs=2)
    first = send(coordinator).json()["id"]
    assert send(coordinator).status_code == 202
    assert check_refused(send(coordinator), "max_open_jobs") == 5
    coordinator.engine.finish(first)
    assert send(coordinator).status_code == 202


def test_process_counts_each_of_its_jobs(keyed):
    coordinator = keyed(max_open_jobs=2)
    actions = [("actions", (None, json.dumps({**PLAN, "output": "png"})))] * 3
    check_refused(
        coordinator.http.post("/process", files=[*actions, ("files", ("a.jpg", b"\xff\xd8\xffx"))]), "max_open_jobs"
    )
    assert coordinator.stored() == []
    assert coordinator.services.repository.usage("delft", 0.0).open_jobs == 0


def test_images_that_have_not_ended_are_bounded_over_all_jobs(keyed):
    coordinator = keyed(max_open_images=5)
    first = send(coordinator, images=3).json()["id"]
    check_refused(send(coordinator, images=3), "max_open_images")
    assert send(coordinator, images=2).status_code == 202
    check_refused(send(coordinator), "max_open_images")
    coordinator.engine.finish(first, count=1)
    assert send(coordinator).status_code == 202
    assert coordinator.services.repository.usage("delft", 0.0).open_images == 5


def test_a_job_that_could_never_fit_is_not_told_to_try_later(keyed):
    refused = send(keyed(max_open_images=5), images=6)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_images")
    assert "accepted are 5" in refused.json()["detail"]


def test_images_of_a_day_are_counted_although_their_jobs_are_deleted(keyed):
    coordinator = keyed(images_per_day=4)
    job = send(coordinator, images=3).json()["id"]
    coordinator.engine.finish(job)
    assert coordinator.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert 1 <= check_refused(send(coordinator, images=2), "images_per_day") <= 86_400
    assert send(coordinator).status_code == 202
    check_refused(send(coordinator), "images_per_day")


def test_of_many_jobs_at_once_no_more_images_slip_through(keyed):
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


def test_a_dry_run_costs_nothing(keyed):
    coordinator = keyed(max_open_jobs=1)
    send(coordinator)
    data, sent = {"job": json.dumps(PLAN)}, [("files", ("a.jpg", b"\xff\xd8\xffx"))]
    assert coordinator.http.post("/v1/jobs?dry_run=true", data=data, files=sent).status_code == 200


def test_a_keys_weight_multiplies_that_of_its_jobs(keyed):
    coordinator = keyed(weight=5)
    assert send(coordinator, weight=3).json()["weight"] == 15


def test_nobody_overtakes_others_who_may_not(keyed):
    coordinator = keyed(max_priority=2)
    assert send(coordinator, priority=2).status_code == 202
    refused = send(coordinator, priority=3)
    assert (refused.status_code, refused.json()["code"]) == (403, "priority_not_allowed")
    assert refused.json()["pointer"] == "/priority"
    assert send(keyed(admin=True), priority=100).status_code == 202

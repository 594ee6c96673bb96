"""`expire_after`: how long jobs are kept; and what is stored: shown by owner, and bounded."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from api_server import ApiServer, Serve

from penstock.common.settings import Limits
from penstock.coordinator.auth.keys import Keys, make_key
from penstock.coordinator.ports.repository import ALL_OWNERS
from penstock.coordinator.scheduling.garbage_collector import GarbageCollector


def send(coordinator: ApiServer, jpeg: bytes, **document: Any) -> httpx.Response:
    given = {"operations": [["split", True]], **document}
    return coordinator.http.post(
        "/v1/jobs", data={"job": json.dumps(given)}, files=[("files", (name, jpeg)) for name in ("a.jpg", "b.jpg")]
    )


def start(serve: Serve, limits: Limits | None = None, **fields: Any) -> ApiServer:
    """Serve a REST API whose client sends a key with these fields."""
    (token, key), (_, other) = make_key("delft", **fields), make_key("gouda")
    coordinator = serve(keys=Keys([other, key]), limits=limits or Limits())
    coordinator.http.headers["Authorization"] = f"Bearer {token}"
    return coordinator


def expire(coordinator: ApiServer, job: str) -> None:
    """Let the time of a job pass, as far as the database is concerned, and collect."""
    repository = coordinator.services.repository
    with repository._database._engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE jobs SET expires_at = 1.0 WHERE id = ?", (job,))
    GarbageCollector(repository, coordinator.store, abandoned_secs=3_600.0).collect()


@pytest.mark.parametrize(
    ("of_job", "of_key", "of_server", "secs"),
    [("2h", "1d", "30d", 7_200), ("2d", "1d", "30d", 86_400), ("2d", None, "1h", 3_600), (None, "90s", None, 90)],
)
def test_the_shortest_time_of_job_key_and_server_applies(serve, jpeg, of_job, of_key, of_server, secs) -> None:
    coordinator = start(serve, Limits(expire_after=of_server), **({"expire_after": of_key} if of_key else {}))
    job = send(coordinator, jpeg, **({"expire_after": of_job} if of_job else {})).json()
    assert (job["expire_after_seconds"], job["expires_at"]) == (secs, None)
    coordinator.scheduler.finish(job["id"])
    ended = coordinator.http.get(job["url"]).json()
    finished = datetime.fromisoformat(ended["finished_at"])
    assert datetime.fromisoformat(ended["expires_at"]) - finished == timedelta(seconds=secs)
    [listed] = coordinator.http.get("/v1/jobs").json()["jobs"]
    assert listed["expires_at"] == ended["expires_at"]


def test_a_job_is_kept_until_it_is_deleted_by_default(coordinator, jpeg) -> None:
    job = send(coordinator, jpeg).json()
    coordinator.scheduler.finish(job["id"])
    ended = coordinator.http.get(job["url"]).json()
    assert ended["expire_after_seconds"] is ended["expires_at"] is None


@pytest.mark.parametrize("given", ["soon", "-2h", "0", 3600, True])
def test_what_is_no_duration_is_refused(coordinator, jpeg, given: object) -> None:
    refused = send(coordinator, jpeg, expire_after=given)
    assert (refused.status_code, refused.json()["pointer"]) == (422, "/expire_after")


def test_an_expired_job_is_gone_with_its_files_and_results(coordinator, jpeg) -> None:
    job = send(coordinator, jpeg, expire_after="1h").json()
    coordinator.scheduler.finish(job["id"])
    assert list(coordinator.store.list(f"results/{job['id']}"))
    expire(coordinator, job["id"])
    assert coordinator.http.get(job["url"]).status_code == 404
    assert coordinator.http.get(f"{job['url']}/results").status_code == 404
    assert [*coordinator.store.list("results"), *coordinator.store.list("uploads")] == []


def test_files_that_a_later_job_reads_outlive_the_job_they_came_with(coordinator, jpeg) -> None:
    first = send(coordinator, jpeg, expire_after="1h").json()
    coordinator.scheduler.finish(first["id"])
    document = {"operations": [["blur", "median"]], "inputs": [{"job": first["id"]}]}
    second = coordinator.http.post("/v1/jobs", json=document).json()
    assert second["upload_bytes"] == first["upload_bytes"] == 2 * len(jpeg)
    expire(coordinator, first["id"])
    assert coordinator.http.get(first["url"]).status_code == 200  # an open job reads its images
    coordinator.scheduler.finish(second["id"])
    expire(coordinator, first["id"])
    assert coordinator.http.get(first["url"]).status_code == 404
    repository = coordinator.services.repository
    images = repository.list_images(second["id"], limit=9)
    assert [b"".join(coordinator.store.stream(image.ref)) for image in images] == [jpeg, jpeg]
    assert repository.get_job(second["id"], ALL_OWNERS).source_job == first["id"]
    coordinator.http.delete(second["url"])
    assert list(coordinator.store.list("uploads")) == []


def test_usage_shows_a_key_its_own_bytes_and_an_admin_those_of_all(serve, jpeg) -> None:
    coordinator = start(serve, max_stored_bytes=10**9)
    empty = coordinator.http.get("/v1/usage").json()
    assert empty["owners"][0] | {"next_expires_at": None} == {
        "owner": "delft", "jobs": 0, "upload_bytes": 0, "result_bytes": 0, "max_bytes": 10**9, "next_expires_at": None,
    }  # fmt: skip
    job = send(coordinator, jpeg, expire_after="1h").json()
    coordinator.scheduler.finish(job["id"])
    ended = coordinator.http.get(job["url"]).json()
    sizes = [result["size"] for result in coordinator.http.get(f"{job['url']}/results").json()["results"]]
    assert ended["result_bytes"] == sum(sizes) > 0
    usage = coordinator.http.get("/v1/usage").json()
    [own] = usage["owners"]
    assert (own["jobs"], own["upload_bytes"], own["result_bytes"]) == (1, 2 * len(jpeg), sum(sizes))
    assert (own["next_expires_at"], usage["total"]) == (ended["expires_at"], None)


def test_usage_has_totals_where_no_key_is_needed(coordinator, jpeg) -> None:
    send(coordinator, jpeg)
    usage = coordinator.http.get("/v1/usage").json()
    assert (usage["owners"][0]["owner"], usage["total"]["upload_bytes"]) == (None, 2 * len(jpeg))


def test_a_key_is_refused_above_its_bytes_until_something_is_deleted(serve, jpeg) -> None:
    most = 2 * len(jpeg) + 1_000  # a form counts with its boundaries while it arrives
    coordinator = start(serve, max_stored_bytes=most)
    job = send(coordinator, jpeg, expire_after="1h").json()
    coordinator.scheduler.finish(job["id"], parts=4)  # its results exceed the limit
    used = sum(coordinator.http.get(job["url"]).json()[name] for name in ("upload_bytes", "result_bytes"))
    document = {"operations": [["split", True]], "inputs": [{"job": job["id"]}]}
    refused = coordinator.http.post("/v1/jobs", json=document)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    free_at = coordinator.services.repository.get_job(job["id"], ALL_OWNERS).expires_at
    when = f"{datetime.fromtimestamp(free_at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    assert refused.json()["detail"] == (
        f"max_stored_bytes of key delft: {used} of {most} bytes are used; "
        f"free again at {when}, when a job expires, or when jobs or uploads are deleted"
    )
    assert 3_500 < int(refused.headers["retry-after"]) <= 3_601
    coordinator.http.delete(job["url"])
    assert coordinator.http.post("/v1/jobs", json=document).json()["code"] == "source_not_found"  # no longer refused


def test_bytes_that_arrive_count_for_the_key_and_for_the_server(serve, jpeg) -> None:
    coordinator = start(serve, max_stored_bytes=len(jpeg))
    assert "max_stored_bytes of key delft" in send(coordinator, jpeg).json()["detail"]
    assert list(coordinator.store.list("uploads")) == []
    coordinator = start(serve, Limits(max_stored_bytes=len(jpeg)))
    refused = send(coordinator, jpeg)
    assert (refused.status_code, refused.json()["code"]) == (507, "insufficient_storage")
    assert "PENSTOCK_MAX_STORED_BYTES" in refused.json()["detail"]

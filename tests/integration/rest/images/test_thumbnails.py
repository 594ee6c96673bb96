"""Thumbnails: who may see them, when they are made, and how long they are kept."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from api_server import ApiServer, Serve, repeating
from waiting import wait_until

from penstock.common import registry
from penstock.common.settings import Limits
from penstock.coordinator.api import thumbnails
from penstock.coordinator.auth.keys import Keys, make_key
from penstock.coordinator.ports.repository import Job


@contextmanager
def making(coordinator: ApiServer, code: str | None = None) -> Iterator[list[Job]]:
    """End every job that makes a thumbnail, as a worker would; yield the list of these jobs."""
    seen: list[Job] = []

    def finish() -> None:
        for job in coordinator.services.repository.dispatchable():
            if job.is_transient:
                seen.append(job)
                coordinator.scheduler.finish(job.id, fail={"thumbnail": code} if code else None)

    with repeating(finish):
        yield seen


def finished_job(coordinator: ApiServer, jpeg: bytes, parts: int = 1, **document: Any) -> dict[str, Any]:
    job = coordinator.submit(["a.jpg"], jpeg, **document)
    coordinator.scheduler.finish(job["id"], parts=parts)
    return job


def thumbnail(job: dict[str, Any], query: str = "", image: int = 0) -> str:
    return f"{job['url']}/images/{image}/thumbnail?{query}"


def test_a_thumbnail_is_made_once_and_then_kept(coordinator: ApiServer, jpeg: bytes) -> None:
    job = finished_job(coordinator, jpeg)
    with making(coordinator) as jobs:
        first = coordinator.http.get(thumbnail(job))
        again = coordinator.http.get(thumbnail(job))
    assert (first.status_code, first.content) == (200, again.content)
    assert first.headers["content-type"] == "image/jpeg"
    assert first.headers["cache-control"] == "private, max-age=86400"
    assert len(jobs) == 1
    unchanged = coordinator.http.get(thumbnail(job), headers={"If-None-Match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    wait_until(lambda: [found["id"] for found in coordinator.http.get("/v1/jobs").json()["jobs"]] == [job["id"]])


def test_requests_at_the_same_time_share_one(coordinator: ApiServer, jpeg: bytes) -> None:
    job = finished_job(coordinator, jpeg)
    repository = coordinator.services.repository
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(coordinator.http.get, thumbnail(job)) for _ in range(8)]
        wait_until(repository.dispatchable)
        with making(coordinator) as jobs:
            assert {answer.result(30).status_code for answer in answers} == {200}
    assert len(jobs) == 1


def test_it_shows_the_source_or_one_of_the_results(coordinator: ApiServer, jpeg: bytes) -> None:
    job = finished_job(coordinator, jpeg, parts=4)
    repository = coordinator.services.repository
    shown = repository.get_image(job["id"], 0)
    assert shown is not None
    seen = []
    with ThreadPoolExecutor() as pool:
        for query in ("of=source", "part=0", "of=result&part=3"):
            answer = pool.submit(coordinator.http.get, thumbnail(job, query))
            wait_until(repository.dispatchable)
            [made] = repository.dispatchable()
            [image] = repository.list_images(made.id, limit=2)
            seen.append((image.ref, made.plan.operations[1]["width"], made.plan.operations[2]["max_bytes"]))
            coordinator.scheduler.finish(made.id)
            assert answer.result(30).status_code == 200
    # the four results together are as large as the source's thumbnail
    assert seen == [(shown.ref, 320, 16_000), *((shown.results[part].key, 160, 4_000) for part in (0, 3))]


@pytest.mark.parametrize(
    ("query", "image", "status"), [("part=1", 0, 404), ("", 1, 404), ("of=source", 7, 404), ("of=both", 0, 422)]
)
def test_there_is_none_of_what_does_not_exist(
    coordinator: ApiServer, jpeg: bytes, query: str, image: int, status: int
) -> None:
    job = finished_job(coordinator, jpeg)
    assert coordinator.http.get(thumbnail(job, query, image)).status_code == status


def test_an_image_that_cannot_be_read_has_no_thumbnail(coordinator: ApiServer, jpeg: bytes) -> None:
    job = finished_job(coordinator, jpeg)
    with making(coordinator, code="corrupt_image") as jobs:
        answer = coordinator.http.get(thumbnail(job, "of=source"))
        again = coordinator.http.get(thumbnail(job, "of=source"))
    assert (answer.status_code, answer.json()["code"]) == (422, "corrupt_image")
    assert (again.status_code, again.json()) == (422, answer.json())
    assert len(jobs) == 1


def test_one_that_nobody_waits_for_any_more_is_not_made(coordinator: ApiServer, jpeg: bytes) -> None:
    job = finished_job(coordinator, jpeg)
    repository = coordinator.services.repository
    head = f"GET {thumbnail(job)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with (
        socket.create_connection(("127.0.0.1", coordinator.port)) as one,
        socket.create_connection(("127.0.0.1", coordinator.port)) as other,
    ):
        one.sendall(head)
        other.sendall(head)
        wait_until(repository.dispatchable)
    wait_until(lambda: not repository.dispatchable())
    with making(coordinator):
        assert coordinator.http.get(thumbnail(job)).status_code == 200


def test_only_so_many_are_being_made(coordinator: ApiServer, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "_MOST_WANTED", 1)
    job = finished_job(coordinator, jpeg, parts=2)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(coordinator.http.get, thumbnail(job, "part=0"))
        wait_until(coordinator.services.repository.dispatchable)
        answer = coordinator.http.get(thumbnail(job, "part=1"))
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_thumbnails")
        with making(coordinator):
            assert first.result(30).status_code == 200
            assert coordinator.http.get(thumbnail(job, "part=1")).status_code == 200


def test_there_are_none_where_resize_is_disabled(
    coordinator: ApiServer, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_job(coordinator, jpeg)
    monkeypatch.setattr(registry, "_disabled", {"resize"})
    answer = coordinator.http.get(thumbnail(job))
    assert (answer.status_code, answer.json()["code"]) == (422, "operation_disabled")


def test_a_thumbnail_that_no_worker_makes_in_time_is_given_up(serve: Serve, jpeg: bytes) -> None:
    coordinator = serve(limits=Limits(max_wait_secs=0.1))
    job = finished_job(coordinator, jpeg)
    answer = coordinator.http.get(thumbnail(job))
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    wait_until(lambda: not coordinator.services.repository.dispatchable())


def test_thumbnails_are_deleted_with_their_job(coordinator: ApiServer, jpeg: bytes) -> None:
    job = finished_job(coordinator, jpeg)
    with making(coordinator):
        assert coordinator.http.get(thumbnail(job)).status_code == 200
    assert [key for key in coordinator.store.list("results") if "thumbnail" in key]
    coordinator.http.delete(job["url"])
    wait_until(lambda: not list(coordinator.store.list("results")))
    assert coordinator.http.get(thumbnail(job)).status_code == 404


def test_only_the_owner_of_a_job_sees_its_thumbnails_and_they_count_for_no_quota(serve: Serve, jpeg: bytes) -> None:
    (token, key), (foreign, other) = make_key("delft", images_per_day=1), make_key("gouda")
    coordinator = serve(keys=Keys([key, other]))
    coordinator.http.headers["Authorization"] = f"Bearer {token}"
    job = finished_job(coordinator, jpeg)
    with making(coordinator) as jobs:
        assert coordinator.http.get(thumbnail(job)).status_code == 200
    assert [made.owner for made in jobs] == [""]
    coordinator.http.headers["Authorization"] = f"Bearer {foreign}"
    assert coordinator.http.get(thumbnail(job)).status_code == 404
    del coordinator.http.headers["Authorization"]
    assert coordinator.http.get(thumbnail(job)).status_code == 401

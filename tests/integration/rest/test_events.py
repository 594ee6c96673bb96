"""Server-sent events of a job."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
from api_server import ApiServer


def read_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Read events as a browser does: fields up to an empty line."""
    event: dict[str, Any] = {}
    for line in lines:
        if not line:
            if event:
                yield event
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value


def follow(coordinator: ApiServer, job: dict[str, Any], headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Read a job's events up to the end."""
    with coordinator.http.stream("GET", job["links"]["events"], headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(read_events(answer.iter_lines()))


def test_a_job_is_followed_from_start_to_end(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit([f"{n}.jpg" for n in range(4)], jpeg)

    def work() -> None:
        for _ in range(4):
            time.sleep(0.1)
            coordinator.scheduler.finish(job["id"], count=1, fail={"2.jpg": "corrupt_image"})

    worker = threading.Thread(target=work)
    began = time.monotonic()
    worker.start()
    events = follow(coordinator, job)
    took = time.monotonic() - began
    worker.join()
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("progress", "end")
    assert kinds.count("image-failed") == 1
    assert kinds.count("progress") <= 4 * took + 2
    assert events[-1]["data"]["state"] == "partial"
    failed = next(event for event in events if event["event"] == "image-failed")
    assert (failed["id"], failed["data"]["name"], failed["data"]["error"]["code"]) == ("1", "2.jpg", "corrupt_image")


def test_a_client_that_reconnects_gets_only_the_failures_it_missed(coordinator: ApiServer, jpeg: bytes) -> None:
    names = [f"{n}.jpg" for n in range(450)]
    job = coordinator.submit(names, jpeg)
    coordinator.scheduler.finish(job["id"], fail=dict.fromkeys(names, "internal"))
    ids = [event.get("id") for event in follow(coordinator, job) if event["event"] == "image-failed"]
    assert ids == [str(number) for number in range(1, 451)]
    later = follow(coordinator, job, {"Last-Event-ID": "447"})
    assert [event.get("id") for event in later] == ["448", "449", "450", None, None]
    assert [event["event"] for event in later[-2:]] == ["progress", "end"]


def test_an_invalid_event_id_is_refused(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    for given in "-1", "x", "9" * 40:
        answer = coordinator.http.get(job["links"]["events"], headers={"Last-Event-ID": given})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_last_event_id")


def test_a_client_that_leaves_does_not_disturb_others(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    for _ in range(5):
        with coordinator.http.stream("GET", job["links"]["events"]) as answer:
            assert next(read_events(answer.iter_lines()))["event"] == "progress"
    coordinator.scheduler.finish(job["id"])
    assert follow(coordinator, job)[-1]["event"] == "end"


def test_the_stream_ends_when_the_job_is_deleted(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    with httpx.stream("GET", f"{coordinator.http.base_url}{job['links']['events']}", timeout=20) as answer:
        events = read_events(answer.iter_lines())
        assert next(events)["event"] == "progress"
        coordinator.http.post(f"{job['url']}/cancel")
        coordinator.http.delete(job["url"])
        assert {event["event"] for event in events} <= {"progress", "end"}

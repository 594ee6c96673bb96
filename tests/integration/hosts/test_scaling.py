"""Scaling from zero: the backlog of a step without workers is reported, waits, and is processed by its first worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hosts import Hosts, Process
from postgres_server import PostgresServer
from waiting import wait_until

OPERATIONS: list[Any] = [["resize", "200x150"], ["split", True], ["blur", "median"]]


def get(coordinator: Process, path: str) -> Any:
    with coordinator.client as client:
        return json.loads(client.send("GET", path))


def backlog(coordinator: Process, steps: str) -> dict[str, Any]:
    return get(coordinator, f"/v1/backlog?steps={steps}")


def test_a_job_waits_for_a_step_without_workers_and_finishes_once_there_is_one(
    start_hosts: Callable[..., Hosts], photos: Path, undisturbed: dict[str, str]
) -> None:
    hosts = start_hosts()
    coordinator = hosts.coordinator()
    hosts.worker("resize,split")
    hosts.worker("encode")
    assert backlog(coordinator, "blur")["backlog_seconds"] == 0
    with coordinator.client as client:
        job = client.post_job({"operations": OPERATIONS, "inputs": [{"prefix": str(photos)}], "chunk_size": 1})["id"]
        wait_until(lambda: client.job(job)["steps"][1]["done"] >= 4)
        waiting = backlog(coordinator, "blur")
        assert waiting == {
            "steps": ["blur"],
            "backlog_seconds": 40.0,
            "remaining": 40,
            "workers": 0,
            "wanted_workers": 4,
        }
        assert get(coordinator, "/v1/steps")["bottleneck"] == "blur"
        time.sleep(4.0)  # four times PENSTOCK_REPAIR_SECS
        counts = client.job(job)["images"]
        ready = {step["name"]: step["ready"] for step in get(coordinator, "/v1/steps")["steps"]}
        in_flight = counts["queued"] + counts["running"]
        assert {step: count for step, count in ready.items() if count} == {"blur": in_flight}, "nothing was requeued"
        worker = hosts.worker("blur")
        assert client.wait(job, poll_secs=0.05)["state"] == "succeeded"
        images = get(coordinator, f"/v1/jobs/{job}/images?limit=100")["images"]
        assert {image["attempts"] for image in images} == {1}
        assert {entry["name"]: entry["sha256"] for entry in client.results(job)} == undisturbed
    assert "requeued" not in coordinator.output
    assert worker.terminate() == 0
    assert backlog(coordinator, "resize,split,blur,encode")["backlog_seconds"] == 0


def test_a_follower_reports_the_leaders_backlog(
    start_hosts: Callable[..., Hosts], postgres: PostgresServer, photos: Path
) -> None:
    hosts = start_hosts(postgres.create_database())
    leader, follower = hosts.coordinator(), hosts.coordinator()
    hosts.worker("resize,split,encode")
    with follower.client as client:
        job = client.post_job({"operations": OPERATIONS, "inputs": [{"prefix": str(photos)}]})["id"]
        wait_until(lambda: 0 < backlog(follower, "resize,split")["remaining"] < 40)
        wait_until(lambda: backlog(follower, "blur") == backlog(leader, "blur"))
        assert backlog(follower, "blur")["remaining"] == 40
        hosts.worker("blur")
        assert client.wait(job, poll_secs=0.05)["state"] == "succeeded"
    wait_until(lambda: backlog(follower, "blur")["backlog_seconds"] == 0)

"""Data written by version 0.1.0 (database, store, queued messages) is taken over as it is."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pika
import pytest
from hosts import Hosts
from rabbitmq_server import RabbitServer
from waiting import wait_until

MADE = Path(__file__).with_name("made_by_0_1_0")
JOBS: dict[str, str] = json.loads((MADE / "messages.json").read_text())["jobs"]


@pytest.fixture
def api(start_hosts: Callable[..., Hosts], rabbitmq: RabbitServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """The REST API of this version over a copy of the old data, with a worker for all steps."""
    zipfile.ZipFile(MADE / "files.zip").extractall(tmp_path)
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "penstock.sqlite") as database:
        database.executescript((MADE / "database.sql").read_text().replace("{root}", str(tmp_path)))
    database.close()
    publish_messages(rabbitmq.url, tmp_path)
    hosts = start_hosts(PENSTOCK_ABANDONED_SECS="1e9", PENSTOCK_WEBHOOK_ALLOW='["http://127.0.0.1:9"]')
    coordinator = hosts.coordinator()
    hosts.worker()
    with httpx.Client(base_url=coordinator.url, timeout=30) as client:
        yield client


def publish_messages(url: str, root: Path) -> None:
    """Queue the messages that were waiting when 0.1.0 stopped."""
    queues = json.loads((MADE / "messages.json").read_text())["queues"]
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue, bodies in queues.items():
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        for body in bodies:
            channel.basic_publish("", queue, body.replace("{root}", str(root)).encode())
    connection.close()


def expected_parts(image: Path) -> list[np.ndarray[Any, Any]]:
    """Return what resize to 32×24, split and a median blur make of an image, by OpenCV alone."""
    small = cv2.resize(cv2.imread(str(image)), (32, 24), interpolation=cv2.INTER_AREA)
    quadrants = [small[:12, :16], small[:12, 16:], small[12:, :16], small[12:, 16:]]
    return [cv2.medianBlur(quadrant, 5) for quadrant in quadrants]


def get(api: httpx.Client, path: str) -> dict[str, Any]:
    """Return a JSON answer."""
    answer: dict[str, Any] = api.get(path).raise_for_status().json()
    return answer


def finished(api: httpx.Client, job: str) -> dict[str, Any]:
    """Return a job once it has ended."""
    wait_until(lambda: get(api, f"/v1/jobs/{job}")["state"] not in ("accepted", "running"))
    return get(api, f"/v1/jobs/{job}")


def result_names(api: httpx.Client, job: str) -> list[str]:
    """Return the names in a job's manifest."""
    return [entry["name"] for entry in get(api, f"/v1/jobs/{job}/results")["results"]]


@pytest.mark.parametrize(("name", "images"), [("between", slice(4)), ("queued", slice(4, 6))])
def test_a_job_that_was_in_flight_finishes_with_opencvs_bytes(
    api: httpx.Client, tmp_path: Path, name: str, images: slice
) -> None:
    assert finished(api, JOBS[name])["state"] == "succeeded"
    folder = tmp_path / "store" / "results" / JOBS[name]
    expected = {
        f"{image.stem}-{number}.jpg": cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        for image in sorted((tmp_path / "photos").glob("*.jpg"))[images]
        for number, part in enumerate(expected_parts(image))
    }
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert sorted(result_names(api, JOBS[name])) == sorted(expected)


def test_finished_jobs_keep_their_states_failures_and_results(api: httpx.Client, tmp_path: Path) -> None:
    sent = get(api, f"/v1/jobs/{JOBS['sent']}")
    assert (sent["state"], sent["name"], sent["labels"]) == ("partial", "sent", {"city": "delft"})
    assert (sent["images"]["done"], sent["images"]["failed"]) == (3, 1)
    assert get(api, f"/v1/jobs/{JOBS['process']}")["state"] == "succeeded"
    stored = (tmp_path / "store" / "results" / JOBS["sent"]).iterdir()
    assert sorted(result_names(api, JOBS["sent"])) == sorted(path.name for path in stored)


def test_failed_images_are_retried_once_their_source_is_there(api: httpx.Client, tmp_path: Path) -> None:
    images = tmp_path / "photos"
    (images / "late.jpg").write_bytes((images / "photo-0002.jpg").read_bytes())
    api.post(f"/v1/jobs/{JOBS['missing']}/retry").raise_for_status()
    assert finished(api, JOBS["missing"])["state"] == "succeeded"
    assert len(result_names(api, JOBS["missing"])) == 8


def test_an_upload_that_was_open_can_still_be_used(api: httpx.Client) -> None:
    document = {"operations": [["resize", "20x30"]], "inputs": [{"upload": JOBS["upload"]}]}
    job = api.post("/v1/jobs", json=document).raise_for_status().json()["id"]
    assert finished(api, job)["state"] == "succeeded"
    assert len(result_names(api, job)) == 2

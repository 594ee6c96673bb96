"""Many hosts: `coordinator` and `worker` processes give the bytes of one host, and lose nothing when any is killed."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hosts import Hosts, Process
from postgres_server import PostgresServer
from rabbitmq_server import RabbitServer
from waiting import wait_until

from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.messages import EVENTS_QUEUE, step_queue
from penstock.common.settings import BrokerSettings

OPERATIONS: list[Any] = [["resize", "200x150"], ["split", True], ["blur", "median"]]
SLOW: list[Any] = [["resize", "200x150"], ["pause", 0.05], ["split", True], ["blur", "median"]]
PER_STEP = ("resize", "split", "blur", "encode")


def submit(coordinator: Process, folder: Path, operations: list[Any], **more: Any) -> str:
    with coordinator.client as client:
        return client.post_job({"operations": operations, "inputs": [{"prefix": str(folder)}], **more})["id"]


def finish(coordinator: Process, job: str) -> dict[str, Any]:
    with coordinator.client as client:
        return client.wait(job, poll_secs=0.05)


def job(coordinator: Process, name: str) -> dict[str, Any]:
    with coordinator.client as client:
        return client.job(name)


def manifest(coordinator: Process, name: str) -> dict[str, str]:
    with coordinator.client as client:
        return {entry["name"]: entry["sha256"] for entry in client.results(name)}


def intermediates(hosts: Hosts) -> list[Path]:
    return list((hosts.folder / "store").glob("work/*/*/*"))


@pytest.mark.parametrize("placement", [PER_STEP, ("resize,split", "blur,encode"), ("all",)], ids=["1", "2", "4"])
def test_workers_in_any_placement_give_the_bytes_of_one_host(
    start_hosts: Callable[..., Hosts], photos: Path, undisturbed: dict[str, str], placement: tuple[str, ...]
) -> None:
    hosts = start_hosts()
    coordinator = hosts.coordinator()
    for steps in placement:
        hosts.worker(steps)
    name = submit(coordinator, photos, OPERATIONS)
    assert finish(coordinator, name)["state"] == "succeeded"
    assert manifest(coordinator, name) == undisturbed
    wait_until(lambda: not intermediates(hosts))


def test_a_killed_coordinator_resumes_where_it_was(
    start_hosts: Callable[..., Hosts], photos: Path, undisturbed: dict[str, str]
) -> None:
    hosts = start_hosts()
    coordinator = hosts.coordinator()
    hosts.worker()
    name = submit(coordinator, photos, SLOW)
    for goal in (5, 20):
        wait_until(lambda goal=goal, at=coordinator: job(at, name)["images"]["done"] >= goal)
        coordinator.kill()
        coordinator = hosts.coordinator()
    assert finish(coordinator, name)["state"] == "succeeded"
    assert manifest(coordinator, name) == undisturbed


def test_a_killed_leader_is_replaced_and_followers_answer_requests(
    start_hosts: Callable[..., Hosts], postgres: PostgresServer, photos: Path, undisturbed: dict[str, str]
) -> None:
    hosts = start_hosts(postgres.create_database())
    leader = hosts.coordinator()
    follower = hosts.coordinator()
    hosts.worker()
    name = submit(follower, photos, SLOW)
    wait_until(lambda: sum(step["running"] for step in job(follower, name)["steps"]) > 0)
    wait_until(lambda: job(follower, name)["images"]["done"] >= 3)
    leader.kill()
    assert finish(follower, name)["state"] == "succeeded"
    assert manifest(follower, name) == undisturbed


def test_every_coordinator_processes_one_image_in_one_request(
    start_hosts: Callable[..., Hosts], postgres: PostgresServer, photos: Path, undisturbed: dict[str, str]
) -> None:
    hosts = start_hosts(postgres.create_database())
    coordinators = [hosts.coordinator(), hosts.coordinator()]
    for steps in PER_STEP:
        hosts.worker(steps)
    photo = min(photos.iterdir())
    query = f"op=resize=200x150&op=split&op=blur=median&filename={photo.name}"
    headers = {"Content-Type": "image/jpeg", "Accept": "application/zip"}
    for coordinator in coordinators:
        with coordinator.client as client:
            archive = zipfile.ZipFile(
                io.BytesIO(client.send("POST", f"/v1/process?{query}", photo.read_bytes(), headers))
            )
            made = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
            assert made.items() <= undisturbed.items()
            assert len(made) == 4
            wait_until(lambda client=client: not json.loads(client.send("GET", "/v1/jobs"))["jobs"])
    wait_until(lambda: not intermediates(hosts))


def test_a_job_finishes_although_its_queues_were_deleted_and_its_events_lost(
    start_hosts: Callable[..., Hosts], rabbitmq: RabbitServer, photos: Path, undisturbed: dict[str, str]
) -> None:
    hosts = start_hosts()
    coordinator = hosts.coordinator()
    for steps in ("resize,pause", "split,blur,encode"):
        hosts.worker(steps)
    name = submit(coordinator, photos, SLOW)
    for goal, queue in ((3, step_queue("resize")), (8, step_queue("split")), (12, EVENTS_QUEUE)):
        wait_until(lambda goal=goal: job(coordinator, name)["images"]["done"] >= goal)
        rabbitmq.delete_queues(queue)
    assert finish(coordinator, name)["state"] == "succeeded"
    assert manifest(coordinator, name) == undisturbed


def test_a_killed_worker_loses_nothing(
    start_hosts: Callable[..., Hosts], photos: Path, undisturbed: dict[str, str]
) -> None:
    hosts = start_hosts(PENSTOCK_MAX_ATTEMPTS="9")
    coordinator = hosts.coordinator()
    hosts.worker("split,blur,encode")
    name = submit(coordinator, photos, SLOW)
    for goal in (2, 10, 20):
        worker = hosts.worker("resize,pause")
        wait_until(lambda goal=goal: job(coordinator, name)["images"]["done"] >= goal)
        worker.kill()
    hosts.worker("resize,pause")
    assert finish(coordinator, name)["state"] == "succeeded"
    assert manifest(coordinator, name) == undisturbed
    wait_until(lambda: not intermediates(hosts))


def test_the_broker_may_start_last_and_restart(
    start_hosts: Callable[..., Hosts], rabbitmq: RabbitServer, photos: Path, undisturbed: dict[str, str]
) -> None:
    hosts = start_hosts()
    rabbitmq.stop()
    try:
        coordinator = hosts.coordinator(wait=False)
        hosts.worker()
        time.sleep(0.5)
    finally:
        rabbitmq.start()
    wait_until(lambda: hosts.is_ready(coordinator))
    name = submit(coordinator, photos, SLOW)
    wait_until(lambda: job(coordinator, name)["images"]["done"] >= 5)
    rabbitmq.stop()
    rabbitmq.start()
    assert finish(coordinator, name)["state"] == "succeeded"
    assert manifest(coordinator, name) == undisturbed


def test_a_cancel_takes_effect_at_once_and_queued_chunks_are_skipped(
    start_hosts: Callable[..., Hosts], rabbitmq: RabbitServer, photos: Path
) -> None:
    hosts = start_hosts(PENSTOCK_WINDOW_IMAGES="1000")
    coordinator = hosts.coordinator()
    hosts.worker()
    name = submit(coordinator, photos, [["pause", 0.5]], chunk_size=1)
    wait_until(lambda: job(coordinator, name)["images"]["done"] >= 1)
    with coordinator.client as client:
        client.send("POST", f"/v1/jobs/{name}/cancel")
    quick = submit(coordinator, photos, [["resize", "20x20"]])
    assert finish(coordinator, quick)["state"] == "succeeded"
    ended = job(coordinator, name)
    assert ended["state"] == "cancelled"
    assert ended["images"]["done"] + ended["images"]["cancelled"] == 40


def test_50_000_messages_of_a_cancelled_job_are_skipped_and_the_next_job_finishes(
    start_hosts: Callable[..., Hosts], rabbitmq: RabbitServer, photos: Path
) -> None:
    hosts = start_hosts()
    coordinator = hosts.coordinator()
    name = submit(coordinator, photos, [["resize", "20x20"]], chunk_size=1)
    broker = RabbitBroker(rabbitmq.url, BrokerSettings())
    broker.declare([step_queue("resize")])
    consumer = broker.consume([step_queue("resize")], 1)
    delivery = consumer.get(60)
    assert delivery is not None
    for _ in range(10):
        broker.publish(step_queue("resize"), [delivery.body] * 5_000)
    broker.close()
    with coordinator.client as client:
        client.send("POST", f"/v1/jobs/{name}/cancel")
    assert job(coordinator, name)["state"] == "cancelled"
    hosts.worker("all", "--concurrency", "2")
    quick = submit(coordinator, photos, [["resize", "20x20"]])
    assert finish(coordinator, quick)["state"] == "succeeded"
    ended = job(coordinator, name)["images"]
    assert (ended["done"], ended["cancelled"]) == (0, 40)
    assert not list((hosts.folder / "store").glob(f"results/{name}/*"))


def test_a_second_coordinator_on_the_same_data_is_refused(start_hosts: Callable[..., Hosts]) -> None:
    hosts = start_hosts()
    hosts.coordinator()
    second = hosts.coordinator(wait=False)
    assert second.process.wait(30) == 3
    assert "in use by another Penstock; choose another --data" in second.output


def test_a_missing_broker_is_reported_in_one_line(penstock: Any, tmp_path: Path) -> None:
    nowhere = penstock("coordinator", "--data", tmp_path, "--port", "0")
    assert nowhere.returncode == 2
    assert nowhere.stderr == "penstock: no broker; give --broker or PENSTOCK_BROKER_URL: amqp://user:password@host\n"


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_serve_works_over_a_broker_as_well(
    start_server: Any, start_hosts: Callable[..., Hosts], photos: Path, undisturbed: dict[str, str], placement: str
) -> None:
    broker = start_hosts().broker_url
    server = start_server("--broker", broker, "--placement", placement, "--workers", "1")
    name = server.client.post_job({"operations": OPERATIONS, "inputs": [{"prefix": str(photos)}]})["id"]
    assert server.client.wait(name, poll_secs=0.05)["state"] == "succeeded"
    assert server.manifest(name) == undisturbed
    steps = {step["name"]: step["workers"] for step in server.call("GET", "/v1/steps")["steps"]}
    assert [steps[step] for step in PER_STEP] == [1, 1, 1, 1]
    workers = server.workers()
    server.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_settings_that_need_a_broker_are_refused_without_one(penstock: Any, tmp_path: Path) -> None:
    alone = penstock("serve", "--data", tmp_path, "--port", "0", PENSTOCK_STORE_URL="s3://bucket/x")
    assert alone.returncode == 2
    assert alone.stderr == (
        "penstock: PENSTOCK_STORE_URL=s3://bucket/x: needs a broker; give --broker amqp://… as well\n"
    )


def test_a_queue_of_another_type_is_named_until_it_is_removed(
    start_hosts: Callable[..., Hosts], rabbitmq: RabbitServer, photos: Path, undisturbed: dict[str, str]
) -> None:
    queue = step_queue("split")
    with rabbitmq.channel() as channel:
        channel.queue_declare(queue, durable=True)
    hosts = start_hosts()
    coordinator, worker = hosts.coordinator(wait=False), hosts.worker()
    wait_until(lambda: f"delete_queue {queue}" in coordinator.output and f"delete_queue {queue}" in worker.output)
    document = httpx.get(f"{coordinator.url}/readyz").json()
    assert document["checks"]["broker"] == "away"
    command = document["problems"]["broker"].partition("rabbitmqctl ")[2]
    name = submit(coordinator, photos, SLOW)
    rabbitmq.control(*shlex.split(command))
    assert finish(coordinator, name)["state"] == "succeeded"
    assert manifest(coordinator, name) == undisturbed
    assert worker.is_running
    assert hosts.is_ready(coordinator)

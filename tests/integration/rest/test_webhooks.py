"""Webhooks: which are accepted, what is shown of them, and delivery after a server was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Serve
from waiting import wait_until
from webhook_receiver import running_receiver

from penstock.common.input_root import InputRoot
from penstock.common.settings import WebhookSettings
from penstock.coordinator.webhooks.rules import WebhookRules
from penstock.coordinator.webhooks.sender import Sender
from penstock.local.server_process import find_free_port

OWN_SECRET = "a secret of the job's own"
WEBHOOK = {"url": "https://hooks.example/x?token=of-the-receiver", "secret": OWN_SECRET}


def settings(**changes: Any) -> WebhookSettings:
    return WebhookSettings(webhook_secret="the servers own secret", webhook_allow=("http://127.0.0.0/8",), **changes)


@pytest.mark.parametrize(
    ("webhook", "code", "pointer"),
    [
        ({"url": "http://hooks.example/"}, "webhook_not_accepted", "/webhook/url"),
        ({"url": "https://127.0.0.1/"}, "webhook_not_accepted", "/webhook/url"),
        ({"url": "https://[::ffff:169.254.169.254]/latest"}, "webhook_not_accepted", "/webhook/url"),
        ({"url": "https://a:b@hooks.example/"}, "webhook_not_accepted", "/webhook/url"),
        ({"url": "https://hooks.example:25/"}, "webhook_not_accepted", "/webhook/url"),
        ({"url": "https://hooks.example/", "secret": None}, "webhook_secret_missing", "/webhook"),
        ({"url": "https://hooks.example/", "secret": "too short"}, "invalid_document", "/webhook/secret"),
        ({"url": 7}, "invalid_document", "/webhook/url"),
        ({"url": "https://hooks.example/", "method": "PUT"}, "unknown_field", "/webhook/method"),
        ("https://hooks.example/", "invalid_document", "/webhook"),
    ],
)
def test_an_invalid_webhook_refuses_the_job_with_a_pointer(
    coordinator: ApiServer, jpeg: bytes, webhook: Any, code: str, pointer: str
) -> None:
    if isinstance(webhook, dict) and "secret" not in webhook:
        webhook = {"secret": OWN_SECRET, **webhook}
    document = {"operations": [["blur", "median"]], "webhook": webhook}
    files = [("files", ("a.jpg", jpeg))]
    answer = coordinator.http.post("/v1/jobs", data={"job": json.dumps(document)}, files=files)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem.get("pointer")) == (422, code, pointer), problem
    assert OWN_SECRET not in answer.text
    assert "too short" not in answer.text
    actions = {"actions": json.dumps(document)}
    answer = coordinator.http.post("/process", data=actions, files=files)
    assert (answer.status_code, answer.json()["pointer"]) == (422, f"/actions/0{pointer}")
    assert coordinator.stored() == []


def test_the_webhook_of_a_job_by_reference_is_checked_even_in_a_dry_run(
    serve: Serve, tmp_path: Path, jpeg: bytes
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg)
    coordinator = serve(input_root=InputRoot(tmp_path / "in"))
    document = {
        "operations": [["blur", "median"]],
        "inputs": ["a.jpg"],
        "webhook": {**WEBHOOK, "url": "https://10.0.0.1"},
    }
    for path in ("/v1/jobs", "/v1/jobs?dry_run=true"):
        answer = coordinator.http.post(path, json=document)
        assert (answer.status_code, answer.json()["pointer"]) == (422, "/webhook/url")
    assert coordinator.http.post("/v1/jobs", json={**document, "webhook": WEBHOOK}).status_code == 202


def test_neither_the_secret_nor_the_path_of_the_url_is_shown_again(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg, webhook=WEBHOOK)
    coordinator.scheduler.finish(job["id"])
    assert job["webhook"] == {"receiver": "https://hooks.example", "deliveries": f"{job['url']}/deliveries"}
    for path in (job["url"], "/v1/jobs", job["webhook"]["deliveries"], job["links"]["images"], job["links"]["results"]):
        text = coordinator.http.get(path).text
        assert "token" not in text
        assert OWN_SECRET not in text


def test_a_job_without_a_webhook_has_no_deliveries(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    assert job["webhook"] is None
    assert coordinator.http.get(f"{job['url']}/deliveries").json() == {"events": []}
    missing = coordinator.http.get("/v1/jobs/01m8tz6v3yk4q2w5n7p9r1s3t5/deliveries")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_deliveries_list_each_end_of_a_job_and_each_attempt(serve: Serve, jpeg: bytes) -> None:
    rules = settings(webhook_first_pause_secs=0.01)
    coordinator = serve(webhooks=WebhookRules.from_settings(rules))
    sender = Sender.from_settings(coordinator.services.repository, rules)
    with running_receiver(500) as receiver:
        job = coordinator.submit(["a.jpg", "b.jpg"], jpeg, webhook={"url": receiver.url()})
        path = job["webhook"]["deliveries"]
        coordinator.scheduler.finish(job["id"], fail={"b.jpg": "step_timeout"})
        [waiting] = coordinator.http.get(path).json()["events"]
        assert (waiting["state"], waiting["deliveries"]) == ("waiting", [])
        assert waiting["next_at"] is not None
        sender.start()
        wait_until(lambda: len(receiver.received) == 2)
        coordinator.http.post(f"{job['url']}/retry")
        coordinator.scheduler.finish(job["id"])
        wait_until(lambda: len(receiver.received) == 3)
        wait_until(lambda: coordinator.http.get(path).json()["events"][0]["state"] == "delivered")
        sender.stop()
    second, first = coordinator.http.get(path).json()["events"]
    assert (first["id"], first["run"], first["job_state"], first["state"]) == (
        f"{job['id']}-0",
        0,
        "partial",
        "delivered",
    )
    assert [(entry["status"], entry["error"]) for entry in first["deliveries"]] == [(500, "answered 500"), (204, None)]
    assert set(first["deliveries"][0]) == {"at", "seconds", "status", "error"}
    assert (second["id"], second["run"], second["job_state"]) == (f"{job['id']}-1", 1, "succeeded")
    assert first["next_at"] is second["next_at"] is None


def test_requests_are_equal_only_with_the_same_webhook(coordinator: ApiServer, jpeg: bytes) -> None:
    def send(webhook: Any) -> tuple[int, str | None]:
        document = {"operations": [["blur", "median"]], "webhook": webhook}
        answer = coordinator.http.post(
            "/v1/jobs",
            data={"job": json.dumps(document)},
            files=[("files", ("a.jpg", jpeg))],
            headers={"Idempotency-Key": "k"},
        )
        return answer.status_code, answer.json().get("id")

    status, job = send(WEBHOOK)
    assert status == 202
    assert send(WEBHOOK) == (200, job)
    assert send({**WEBHOOK, "secret": "another secret than before"})[0] == 409
    assert send(None)[0] == 409


def test_a_server_killed_before_a_delivery_delivers_after_its_restart(
    start_server, tricky: Callable[..., Path], tmp_path: Path
) -> None:
    folder, port = tricky(good=3), find_free_port()
    environment = {
        "PENSTOCK_WEBHOOK_SECRET": "the servers own secret",
        "PENSTOCK_WEBHOOK_ALLOW": '["http://127.0.0.1/32"]',
        "PENSTOCK_WEBHOOK_FIRST_PAUSE_SECS": "2",
        "PENSTOCK_WEBHOOK_LONGEST_PAUSE_SECS": "2",
    }
    server = start_server("--workers", "1", input_root=tmp_path, **environment)
    document = {
        "operations": [["resize", "8x8"]],
        "inputs": [{"prefix": str(folder)}],
        "webhook": {"url": f"http://127.0.0.1:{port}/hook"},
    }
    job = server.client.post_job(document)["id"]
    assert server.client.wait(job, poll_secs=0.02)["state"] == "succeeded"
    server.kill()
    with running_receiver(port=port) as receiver:
        server = start_server("--workers", "1", input_root=tmp_path, **environment)
        wait_until(lambda: receiver.received)
        wait_until(lambda: server.call("GET", f"/v1/jobs/{job}/deliveries")["events"][0]["state"] == "delivered")
    assert receiver.ids() == [f"{job}-0"]
    assert receiver.received[0].event["job"]["images"]["done"] == 3

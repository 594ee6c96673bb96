"""Webhook sender: due events reach a real receiver, signed, until they are delivered or given up."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from coordinator_fixture import CoordinatorFixture, inject_faults
from standardwebhooks import Webhook, WebhookVerificationError
from waiting import wait_until
from webhook_receiver import HANG, Receiver, running_receiver

from penstock.common.logs import JsonFormatter
from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.settings import SettingsError, WebhookSettings
from penstock.coordinator.ports.repository import Repository, WebhookEvent, WebhookEventState
from penstock.coordinator.webhooks.sender import Sender

SECRET = "the server's own secret"
JOB_SECRET = "the secret of the job"
FAST: dict[str, Any] = {
    "webhook_secret": SECRET,
    "webhook_allow": ("http://127.0.0.0/8",),
    "webhook_first_pause_secs": 0.01,
    "webhook_longest_pause_secs": 0.02,
}

StartSender = Callable[..., Sender]


def settings(**changes: Any) -> WebhookSettings:
    return WebhookSettings(**{**FAST, **changes})


@pytest.fixture
def start_sender(coordinator: CoordinatorFixture) -> Iterator[StartSender]:
    """Starts a sender; takes changes to its settings."""
    started: list[Sender] = []

    def start(repository: Repository | None = None, *, lease_margin_secs: float = 60.0, **changes: Any) -> Sender:
        sender = Sender.from_settings(
            repository or coordinator.repository, settings(**changes), lease_margin_secs=lease_margin_secs
        )
        sender.start()
        started.append(sender)
        return sender

    yield start
    for sender in started:
        sender.stop()


def finish_job(
    coordinator: CoordinatorFixture, job: str, receiver: Receiver, *, secret: str | None = None, failed: bool = False
) -> None:
    coordinator.finish_job(job, failed=failed, webhook_url=receiver.url(), webhook_secret=secret)


def event_of(coordinator: CoordinatorFixture, job: str = "job-1") -> WebhookEvent:
    return coordinator.repository.list_webhook_events(job)[0]


def verifier(secret: str) -> Webhook:
    """What a receiver verifies with that was given a secret in plain text."""
    return Webhook("whsec_" + base64.b64encode(secret.encode()).decode())


def test_an_event_is_delivered_and_its_receiver_can_verify_it(
    coordinator: CoordinatorFixture, start_sender: StartSender
) -> None:
    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver)
        start_sender(public_url="https://penstock.example/")
        wait_until(lambda: event_of(coordinator).state is WebhookEventState.DELIVERED)
    [received] = receiver.received
    assert received.event["id"] == received.headers["webhook-id"] == "job-1-0"
    assert received.event["type"] == "job.succeeded"
    job = received.event["job"]
    assert (job["id"], job["run"], job["state"]) == ("job-1", 0, "succeeded")
    assert job["url"] == "https://penstock.example/v1/jobs/job-1"
    assert (job["images"]["total"], job["images"]["done"], job["images"]["failed"]) == (1, 1, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", job["finished_at"])
    assert verifier(SECRET).verify(received.body, received.headers) == received.event
    with pytest.raises(WebhookVerificationError):
        verifier("another secret").verify(received.body, received.headers)


def test_a_jobs_own_secret_is_used_instead_of_the_servers(
    coordinator: CoordinatorFixture, start_sender: StartSender
) -> None:
    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver, secret=JOB_SECRET)
        start_sender()
        wait_until(lambda: receiver.received)
    [received] = receiver.received
    verifier(JOB_SECRET).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        verifier(SECRET).verify(received.body, received.headers)
    assert received.event["job"]["url"] == "/v1/jobs/job-1"
    assert b"secret" not in received.body


def test_the_code_in_the_documentation_accepts_what_is_sent(
    coordinator: CoordinatorFixture, start_sender: StartSender
) -> None:
    page = (Path(__file__).parents[4] / "docs" / "webhooks.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver)
        start_sender()
        wait_until(lambda: receiver.received)
    [received] = receiver.received
    assert names["read_event"](received.headers, received.body, SECRET) == received.event
    with pytest.raises(WebhookVerificationError):
        names["read_event"](received.headers, received.body, "another secret")


def test_an_event_is_retried_under_the_same_id_until_it_is_delivered(
    coordinator: CoordinatorFixture, start_sender: StartSender
) -> None:
    with running_receiver(500, HANG, 302, 404) as receiver:
        finish_job(coordinator, "job-1", receiver, failed=True)
        start_sender(webhook_timeout_secs=0.5)
        wait_until(lambda: event_of(coordinator).state is WebhookEventState.DELIVERED)
    assert receiver.ids() == ["job-1-0"] * 5
    assert [received.path for received in receiver.received] == ["/hook?token=of-the-receiver"] * 5
    assert len({received.body for received in receiver.received}) == 1
    deliveries = event_of(coordinator).deliveries
    assert [(each.status, each.error) for each in deliveries] == [
        (500, "answered 500"),
        (None, "timed out"),
        (302, "answered 302; redirects are not followed"),
        (404, "answered 404"),
        (204, None),
    ]
    assert all(each.secs < 30 and abs(each.at - time.time()) < 300 for each in deliveries)


def test_an_event_that_is_never_accepted_is_given_up_and_the_log_has_neither_secret_nor_url(
    coordinator: CoordinatorFixture,
    start_sender: StartSender,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(caplog.handler, "formatter", JsonFormatter("coordinator"))
    with running_receiver(*[500] * 9) as receiver:
        finish_job(coordinator, "job-1", receiver, secret=JOB_SECRET)
        start_sender(webhook_attempts=3)
        wait_until(lambda: event_of(coordinator).state is WebhookEventState.GIVEN_UP)
    assert len(receiver.received) == len(event_of(coordinator).deliveries) == 3
    records = [json.loads(line) for line in caplog.text.splitlines()]
    assert [record["job"] for record in records if record["message"].endswith("given up")] == ["job-1"]
    assert "token" not in caplog.text
    assert JOB_SECRET not in caplog.text
    assert SECRET not in caplog.text


def test_backoff_doubles_up_to_its_limit_with_jitter(coordinator: CoordinatorFixture) -> None:
    sender = Sender.from_settings(
        coordinator.repository, settings(webhook_first_pause_secs=10, webhook_longest_pause_secs=60)
    )
    pauses = [[sender._backoff.delay_secs(attempt - 1) for _ in range(200)] for attempt in (1, 2, 3, 4, 50)]
    for found, most in zip(pauses, (10, 20, 40, 60, 60), strict=True):
        assert most / 2 <= min(found) < most * 0.6
        assert most * 0.9 < max(found) <= most


def test_a_retried_job_has_another_event_when_it_ends_again(
    coordinator: CoordinatorFixture, start_sender: StartSender
) -> None:
    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver, failed=True)
        start_sender()
        wait_until(lambda: receiver.received)
        coordinator.repository.retry_job("job-1")
        coordinator.repository.take_pending("job-1", 1)
        coordinator.repository.apply([coordinator.done("job-1", 0, run=1)])
        wait_until(lambda: len(receiver.received) == 2)
    assert receiver.ids() == ["job-1-0", "job-1-1"]
    assert [received.event["type"] for received in receiver.received] == ["job.failed", "job.succeeded"]


def test_the_number_of_posts_at_the_same_time_is_limited(
    coordinator: CoordinatorFixture, start_sender: StartSender
) -> None:
    with running_receiver() as receiver:
        for number in range(12):
            finish_job(coordinator, f"job-{number:02}", receiver)
        start_sender(webhook_concurrency=2)
        wait_until(lambda: len(receiver.received) == 12)
    assert sorted(receiver.ids()) == [f"job-{number:02}-0" for number in range(12)]
    assert receiver.most_concurrent <= 2


def test_a_receiver_that_hangs_does_not_block_stop(coordinator: CoordinatorFixture, start_sender: StartSender) -> None:
    with running_receiver(HANG) as receiver:
        finish_job(coordinator, "job-1", receiver)
        started = start_sender()
        wait_until(lambda: receiver.received)
        started.stop()
        assert event_of(coordinator).state is WebhookEventState.WAITING
    wait_until(lambda: not started._posting)


def test_a_thread_that_cannot_be_started_does_not_use_up_the_limit(
    coordinator: CoordinatorFixture, start_sender: StartSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, errors = threading.Thread.start, [RuntimeError("can't start new thread")]

    def fail_once(thread: threading.Thread) -> None:
        if thread.name == "webhook" and errors:
            raise errors.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver)
        start_sender(webhook_concurrency=1, webhook_timeout_secs=2.0, lease_margin_secs=0.0)
        wait_until(lambda: event_of(coordinator).state is WebhookEventState.DELIVERED)
    assert errors == []


def test_an_unreachable_database_loses_no_event(coordinator: CoordinatorFixture, start_sender: StartSender) -> None:
    unavailable = UnavailableError("database", "unreachable")
    not_recorded = [unavailable]
    repository = inject_faults(
        coordinator.repository,
        take_webhook_events=[unavailable, RuntimeError("unexpected")],
        record_delivery=not_recorded,
    )
    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver)
        start_sender(repository, webhook_timeout_secs=0.1)
        wait_until(lambda: receiver.received)
        wait_until(lambda: not not_recorded)
    assert event_of(coordinator).state is WebhookEventState.WAITING, "it is sent again when its lease ends"
    assert event_of(coordinator).due_at > time.time() + 30


def test_an_attempt_without_a_secret_fails_and_says_why(
    coordinator: CoordinatorFixture, start_sender: StartSender
) -> None:
    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver)
        start_sender(webhook_secret=None, webhook_attempts=1)
        wait_until(lambda: event_of(coordinator).state is WebhookEventState.GIVEN_UP)
    assert [each.error for each in event_of(coordinator).deliveries] == ["the server no longer has a webhook secret"]
    assert receiver.received == []


def test_an_unexpected_error_counts_as_an_attempt(coordinator: CoordinatorFixture) -> None:
    def fail(_url: str, _headers: Mapping[str, str], _body: bytes) -> int:
        raise RuntimeError("unexpected")

    with running_receiver() as receiver:
        finish_job(coordinator, "job-1", receiver)
    sender = Sender(coordinator.repository, settings(webhook_attempts=2), fail)
    sender.start()
    wait_until(lambda: event_of(coordinator).state is WebhookEventState.GIVEN_UP)
    sender.stop()
    assert [each.error for each in event_of(coordinator).deliveries] == ["unexpected error"] * 2


def test_only_the_leader_sends_webhooks(coordinator: CoordinatorFixture) -> None:
    sender = Sender.from_settings(coordinator.repository, settings())
    scheduler = coordinator.make_scheduler(webhook_sender=sender)
    with running_receiver() as receiver:
        for number in range(2):
            finish_job(coordinator, f"job-{number}", receiver)
            scheduler.start_leading()
            wait_until(lambda count=number + 1: len(receiver.received) == count)
            scheduler.stop_leading()
        finish_job(coordinator, "job-2", receiver)
        assert event_of(coordinator, "job-2").deliveries == []
    assert receiver.ids() == ["job-0-0", "job-1-0"]


def test_a_cancelled_job_has_an_event_too(coordinator: CoordinatorFixture, start_sender: StartSender) -> None:
    with running_receiver() as receiver:
        coordinator.accept_job("job-1", 2, webhook_url=receiver.url())
        coordinator.repository.cancel_job("job-1")
        start_sender()
        wait_until(lambda: receiver.received)
    assert receiver.received[0].event["job"]["state"] == JobState.CANCELLED
    assert receiver.received[0].event["job"]["images"]["cancelled"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"webhook_allow": ("10.0.0.0/99",)}, "PENSTOCK_WEBHOOK_ALLOW: '10.0.0.0/99' is neither a host"),
        ({"webhook_ca": Path("/nowhere.pem")}, "PENSTOCK_WEBHOOK_CA=/nowhere.pem: no certificates: No such file"),
    ],
)
def test_wrong_settings_are_refused_by_their_name(
    coordinator: CoordinatorFixture, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        Sender.from_settings(coordinator.repository, settings(**changes))

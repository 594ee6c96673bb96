"""The courier: what the database says is due goes to a real receiver, signed, until it has arrived or is given up."""

from __future__ import annotations

import hmac
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until
from webhook_receiver import HANG, Received, Receiver, running_receiver

from penstock.common.logs import JsonLines
from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.jobs import JobState, Webhook
from penstock.common.settings import SettingsError, WebhookSettings
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.coordinator.webhooks.event import Notice, NoticeState
from penstock.coordinator.webhooks.sender import Sender, WebhookRules

SECRET = "the servers own secret"
QUICK: dict[str, Any] = {
    "webhook_secret": SECRET,
    "webhook_allow": ("http://127.0.0.0/8",),
    "webhook_first_pause_secs": 0.01,
    "webhook_longest_pause_secs": 0.02,
}
RECIPE = re.search(r"```python\n(.*?)```", (Path(__file__).parents[4] / "docs" / "webhooks.md").read_text(), re.DOTALL)


def settings(**changes: Any) -> WebhookSettings:
    return WebhookSettings(**{**QUICK, **changes})


@pytest.fixture
def is_from_penstock() -> Callable[[str, bytes, str], bool]:
    """The very lines that docs/webhooks.md gives to receivers."""
    assert RECIPE is not None
    names: dict[str, Any] = {}
    exec(RECIPE[1], names)
    found: Callable[[str, bytes, str], bool] = names["is_from_penstock"]
    return found


@pytest.fixture
def courier(house: Any) -> Iterator[Callable[..., Sender]]:
    """Starts a courier of the house; takes changes to its settings."""
    started: list[Sender] = []

    def start(repository: Any = None, **changes: Any) -> Sender:
        courier = Sender.of(repository or house.repository, settings(**changes))
        courier.start()
        started.append(courier)
        return courier

    yield start
    for each in started:
        each.stop()


def end(house: Any, job: str, receiver: Receiver, secret: str | None = None, failed: bool = False) -> None:
    """Run a job of one image to its end, which the receiver is to be told."""
    house.job(job, 1, webhook_url=receiver.url(), webhook_secret=secret)
    house.repository.take_pending(job, 1)
    house.repository.apply([house.failed(job, 0) if failed else house.done(job, 0)])


def notice_of(house: Any, job: str = "job-1") -> Notice:
    found: Notice = house.repository.list_notices(job)[0]
    return found


def signature(received: Received) -> str:
    return received.headers["Penstock-Signature"]


def test_the_end_of_a_job_arrives_and_its_receiver_can_believe_it(
    house: Any, courier: Any, is_from_penstock: Any
) -> None:
    with running_receiver() as receiver:
        end(house, "job-1", receiver)
        courier(public_url="https://penstock.example/")
        wait_until(lambda: notice_of(house).state is NoticeState.DELIVERED)
    [received] = receiver.received
    assert received.event["id"] == received.headers["Penstock-Event"] == "job-1-0"
    assert received.event["type"] == "job.succeeded"
    job = received.event["job"]
    assert (job["id"], job["run"], job["state"]) == ("job-1", 0, "succeeded")
    assert job["url"] == "https://penstock.example/v1/jobs/job-1"
    assert (job["images"]["total"], job["images"]["done"], job["images"]["failed"]) == (1, 1, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", job["finished_at"])
    assert is_from_penstock(signature(received), received.body, SECRET)
    assert not is_from_penstock(signature(received), received.body + b" ", SECRET)
    assert not is_from_penstock(signature(received), received.body, "another secret")


def test_a_signature_that_somebody_kept_is_of_no_use_later_nor_with_another_time(
    house: Any, courier: Any, is_from_penstock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_receiver() as receiver:
        end(house, "job-1", receiver)
        courier()
        wait_until(lambda: receiver.received)
    [received] = receiver.received
    moment, digest = signature(received).split(",")
    moved = f"t={int(moment[2:]) + 1},{digest}"
    assert not is_from_penstock(moved, received.body, SECRET)
    an_hour_later = time.time() + 3_600
    monkeypatch.setattr(time, "time", lambda: an_hour_later)
    assert not is_from_penstock(signature(received), received.body, SECRET)


def test_a_jobs_own_secret_goes_before_the_servers(house: Any, courier: Any, is_from_penstock: Any) -> None:
    with running_receiver() as receiver:
        end(house, "job-1", receiver, secret="the secret of the job")
        courier()
        wait_until(lambda: receiver.received)
    [received] = receiver.received
    assert is_from_penstock(signature(received), received.body, "the secret of the job")
    assert not is_from_penstock(signature(received), received.body, SECRET)
    assert hmac.compare_digest(received.event["job"]["url"], "/v1/jobs/job-1")
    assert b"secret" not in received.body


def test_what_does_not_arrive_comes_again_under_the_same_id_until_it_does(house: Any, courier: Any) -> None:
    with running_receiver(500, HANG, 302, 404) as receiver:
        end(house, "job-1", receiver, failed=True)
        courier(webhook_timeout_secs=0.5)
        wait_until(lambda: notice_of(house).state is NoticeState.DELIVERED)
    assert receiver.ids() == ["job-1-0"] * 5
    assert [received.path for received in receiver.received] == ["/hook?token=of-the-receiver"] * 5
    assert len({received.body for received in receiver.received}) == 1
    deliveries = notice_of(house).deliveries
    assert [(each.status, each.error) for each in deliveries] == [
        (500, "answered 500"),
        (None, "no answer in time"),
        (302, "answered 302; redirects are not followed"),
        (404, "answered 404"),
        (204, None),
    ]
    assert all(each.secs < 30 and abs(each.at - time.time()) < 300 for each in deliveries)


def test_what_never_arrives_is_given_up_and_the_log_says_neither_secret_nor_url(
    house: Any, courier: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(caplog.handler, "formatter", JsonLines("coordinator"))
    with running_receiver(*[500] * 9) as receiver:
        end(house, "job-1", receiver, secret="the secret of the job")
        courier(webhook_attempts=3)
        wait_until(lambda: notice_of(house).state is NoticeState.GIVEN_UP)
    assert len(receiver.received) == len(notice_of(house).deliveries) == 3
    records = [json.loads(line) for line in caplog.text.splitlines()]
    assert [record["job"] for record in records if record["message"].endswith("given up")] == ["job-1"]
    assert "token" not in caplog.text
    assert "the secret" not in caplog.text


def test_pauses_double_up_to_the_longest_and_are_shortened_by_chance(house: Any) -> None:
    courier = Sender.of(house.repository, settings(webhook_first_pause_secs=10, webhook_longest_pause_secs=60))
    pauses = [[courier._backoff.delay_secs(attempt - 1) for _ in range(200)] for attempt in (1, 2, 3, 4, 50)]
    for found, most in zip(pauses, (10, 20, 40, 60, 60), strict=True):
        assert most / 2 <= min(found) < most * 0.6
        assert most * 0.9 < max(found) <= most


def test_a_retried_job_ends_again_and_that_is_another_event(house: Any, courier: Any) -> None:
    with running_receiver() as receiver:
        end(house, "job-1", receiver, failed=True)
        courier()
        wait_until(lambda: receiver.received)
        house.repository.retry_job("job-1")
        house.repository.take_pending("job-1", 1)
        house.repository.apply([house.done("job-1", 0, run=1)])
        wait_until(lambda: len(receiver.received) == 2)
    assert receiver.ids() == ["job-1-0", "job-1-1"]
    assert [received.event["type"] for received in receiver.received] == ["job.failed", "job.succeeded"]


def test_only_so_many_are_under_way_at_once_and_all_arrive(house: Any, courier: Any) -> None:
    with running_receiver() as receiver:
        for number in range(12):
            end(house, f"job-{number:02}", receiver)
        courier(webhook_concurrency=2)
        wait_until(lambda: len(receiver.received) == 12)
    assert sorted(receiver.ids()) == [f"job-{number:02}-0" for number in range(12)]
    assert receiver.most_under_way <= 2


def test_a_receiver_that_hangs_does_not_keep_the_courier_from_leaving(house: Any, courier: Any) -> None:
    with running_receiver(HANG) as receiver:
        end(house, "job-1", receiver)
        started = courier()
        wait_until(lambda: receiver.received)
        started.stop()
        assert notice_of(house).state is NoticeState.WAITING
    wait_until(lambda: not started._under_way)


def test_a_thread_that_cannot_be_started_takes_no_place_from_the_others(
    house: Any, courier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.coordinator.webhooks.sender._SPARE_SECS", 0.0)
    start, troubles = threading.Thread.start, [RuntimeError("can't start new thread")]

    def start_once_there_is_room(thread: threading.Thread) -> None:
        if thread.name == "webhook" and troubles:
            raise troubles.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_once_there_is_room)
    with running_receiver() as receiver:
        end(house, "job-1", receiver)
        courier(webhook_concurrency=1, webhook_timeout_secs=2.0)
        wait_until(lambda: notice_of(house).state is NoticeState.DELIVERED)
    assert troubles == []


def test_a_database_that_is_away_for_a_while_loses_nothing(house: Any, courier: Any, stumbling: Any) -> None:
    away = UnavailableError("database", "it is away")
    repository = stumbling(house.repository)
    repository.trouble = {"take_notices": [away, RuntimeError("nobody expected it")], "note_delivery": [away]}
    with running_receiver() as receiver:
        end(house, "job-1", receiver)
        courier(repository, webhook_timeout_secs=0.1)
        wait_until(lambda: receiver.received)
        wait_until(lambda: not repository.trouble["note_delivery"])
    assert notice_of(house).state is NoticeState.WAITING, "it comes again when its time is over"
    assert notice_of(house).due_at > time.time() + 30


def test_a_secret_that_the_server_no_longer_has_is_told_as_the_reason(house: Any, courier: Any) -> None:
    with running_receiver() as receiver:
        end(house, "job-1", receiver)
        courier(webhook_secret=None, webhook_attempts=1)
        wait_until(lambda: notice_of(house).state is NoticeState.GIVEN_UP)
    assert [each.error for each in notice_of(house).deliveries] == ["there is no secret to sign with any more"]
    assert receiver.received == []


def test_an_error_that_nobody_expected_counts_as_an_attempt_so_that_it_ends(house: Any) -> None:
    def stumble(_url: str, _headers: Any, _body: bytes) -> int:
        raise RuntimeError("nobody expected it")

    with running_receiver() as receiver:
        end(house, "job-1", receiver)
    courier = Sender(house.repository, settings(webhook_attempts=2), stumble)
    courier.start()
    wait_until(lambda: notice_of(house).state is NoticeState.GIVEN_UP)
    courier.stop()
    assert [each.error for each in notice_of(house).deliveries] == ["an unexpected error"] * 2


def test_the_coordinator_that_leads_delivers_and_one_that_does_not_rests(house: Any) -> None:
    courier = Sender.of(house.repository, settings())
    conductor = JobScheduler(
        house.repository, house.store, house.broker, DispatchSettings(), ReconcilerSettings(), courier=courier
    )
    with running_receiver() as receiver:
        for number in range(2):
            end(house, f"job-{number}", receiver)
            conductor.begin()
            wait_until(lambda count=number + 1: len(receiver.received) == count)
            conductor.end()
        end(house, "job-2", receiver)
        assert notice_of(house, "job-2").deliveries == []
    assert receiver.ids() == ["job-0-0", "job-1-0"]


def test_a_cancelled_job_is_told_of_as_well(house: Any, courier: Any) -> None:
    with running_receiver() as receiver:
        house.job("job-1", 2, webhook_url=receiver.url())
        house.repository.cancel_job("job-1")
        courier()
        wait_until(lambda: receiver.received)
    assert receiver.received[0].event["job"]["state"] == JobState.CANCELLED
    assert receiver.received[0].event["job"]["images"]["cancelled"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"webhook_allow": ("10.0.0.0/99",)}, "PENSTOCK_WEBHOOK_ALLOW: '10.0.0.0/99' is neither a host"),
        ({"webhook_ca": Path("/nowhere.pem")}, "PENSTOCK_WEBHOOK_CA=/nowhere.pem: no certificates: No such file"),
    ],
)
def test_settings_that_cannot_be_are_told_by_their_name(house: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        Sender.of(house.repository, settings(**changes))


def test_rules_ask_for_a_secret_only_where_the_server_has_none() -> None:
    webhook = Webhook(url="https://hooks.example/")
    WebhookRules.of(settings()).check(webhook, "/webhook")
    with pytest.raises(RequestError, match="no secret to sign with") as caught:
        WebhookRules.of(settings(webhook_secret="")).check(webhook, "/webhook")
    assert (caught.value.status, caught.value.pointer) == (422, "/webhook")
    with pytest.raises(SettingsError):
        WebhookRules.of(settings(webhook_allow=("/",)))

"""Repository contract: the outbox of webhook events."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.ports.repository import ALL_OWNERS, DeliveryAttempt, WebhookEventState

LATER = 1e11
RECEIVER = {"webhook_url": "https://hooks.example/x?token=1", "webhook_secret": "of the job's own"}
REFUSED = DeliveryAttempt(at=5.0, secs=0.25, status=500, error="500 Internal Server Error")
DELIVERED = DeliveryAttempt(at=9.0, secs=0.5, status=204, error=None)


def take(repository, limit=9, at=LATER, until=LATER * 2):
    return repository.take_webhook_events(at, limit, until)


def test_every_end_of_a_job_adds_one_event_with_a_summary(driver, repository):
    driver.ended("job-1", done=2, failed=1, name="delft", labels={"city": "delft"}, **RECEIVER)
    driver.accepted("job-2", images=2, **RECEIVER)
    repository.cancel_job("job-2")
    repository.cancel_job("job-2")
    driver.accepted("job-3", images=1, failed=(0,), **RECEIVER)
    driver.accepted("job-4", **RECEIVER)
    found = {event.job: event for event in take(repository)}
    assert {job: event.summary["state"] for job, event in found.items()} == {
        "job-1": "partial", "job-2": "cancelled", "job-3": "failed",
    }  # fmt: skip
    first = found["job-1"]
    assert (first.id, first.url, first.secret) == ("job-1-0", *RECEIVER.values())
    assert (first.summary["name"], first.summary["labels"]) == ("delft", {"city": "delft"})
    assert first.summary["finished_at"] == first.due_at == repository.get_job("job-1", ALL_OWNERS).finished_at
    counts = {"total": 3, "pending": 0, "queued": 0, "running": 0, "done": 2, "failed": 1, "cancelled": 0}
    assert first.summary["images"] == counts


def test_a_job_without_a_webhook_adds_no_event(driver, repository):
    driver.ended("job-1")
    assert take(repository) == repository.list_webhook_events("job-1") == []


def test_duplicate_and_late_worker_events_add_no_second_webhook_event(driver, repository):
    driver.ended("job-1", done=1, failed=1, **RECEIVER)
    repository.apply([driver.done("job-1", 0), driver.failed("job-1", 1)])
    assert [event.id for event in repository.list_webhook_events("job-1")] == ["job-1-0"]


def test_a_retried_job_adds_another_event(driver, repository):
    driver.ended("job-1", done=1, failed=1, **RECEIVER)
    repository.retry_job("job-1")
    assert [event.summary["state"] for event in repository.list_webhook_events("job-1")] == ["partial"]
    repository.apply([driver.done("job-1", 1, run=1)])
    told = [(event.id, event.summary["state"]) for event in repository.list_webhook_events("job-1")]
    assert told == [("job-1-1", "succeeded"), ("job-1-0", "partial")]


def test_a_reserved_event_is_due_again_after_its_postponement(driver, repository):
    for job in ("job-1", "job-2", "job-3"):
        driver.ended(job, **RECEIVER)
    assert take(repository, at=1.0) == []
    assert [event.job for event in take(repository, limit=2, until=LATER + 60)] == ["job-1", "job-2"]
    assert [event.job for event in take(repository)] == ["job-3"]
    assert take(repository, at=LATER + 59) == []
    assert [event.job for event in take(repository, at=LATER + 60)] == ["job-1", "job-2"]


def test_an_event_waits_until_it_is_delivered_and_keeps_every_attempt(driver, repository):
    driver.ended("job-1", **RECEIVER)
    [event] = take(repository)
    repository.record_delivery(event, REFUSED, LATER)
    [waiting] = take(repository)
    assert (waiting.state, waiting.deliveries) == (WebhookEventState.WAITING, [REFUSED])
    repository.record_delivery(waiting, DELIVERED, None)
    [delivered] = repository.list_webhook_events("job-1")
    assert (delivered.state, delivered.deliveries) == (WebhookEventState.DELIVERED, [REFUSED, DELIVERED])
    assert take(repository, at=LATER * 9) == []


def test_an_event_without_another_attempt_is_given_up(driver, repository):
    driver.ended("job-1", **RECEIVER)
    [event] = take(repository)
    repository.record_delivery(event, REFUSED, None)
    assert repository.list_webhook_events("job-1")[0].state is WebhookEventState.GIVEN_UP
    assert take(repository, at=LATER * 9) == []


def test_a_late_failed_attempt_does_not_undo_a_delivery(driver, repository):
    driver.ended("job-1", **RECEIVER)
    [event] = take(repository)
    repository.record_delivery(event, DELIVERED, None)
    repository.record_delivery(event, REFUSED, LATER)
    [found] = repository.list_webhook_events("job-1")
    assert (found.state, found.deliveries) == (WebhookEventState.DELIVERED, [DELIVERED, REFUSED])


def test_the_number_of_stored_attempts_and_events_is_bounded(driver, repository):
    driver.ended("job-1", done=0, failed=1, **RECEIVER)
    [event] = take(repository)
    for count in range(55):
        repository.record_delivery(event, DeliveryAttempt(float(count), 0.1, None, "no"), LATER)
    assert [entry.at for entry in repository.list_webhook_events("job-1")[0].deliveries] == [
        float(at) for at in range(5, 55)
    ]
    for run in range(1, 103):
        repository.retry_job("job-1", [0])
        repository.apply([driver.failed("job-1", 0, run=run)])
    assert [event.run for event in repository.list_webhook_events("job-1")] == list(range(102, 2, -1))


def test_events_are_deleted_with_their_job(driver, repository):
    driver.ended("job-1", **RECEIVER)
    [event] = take(repository)
    repository.delete_job("job-1")
    repository.record_delivery(event, DELIVERED, None)
    assert take(repository, at=LATER * 9) == repository.list_webhook_events("job-1") == []


def test_an_event_outlives_the_process_that_ended_the_job(driver, repository, open_repository):
    driver.ended("job-1", **RECEIVER)
    repository.close()
    [event] = take(open_repository())
    assert (event.id, event.url) == ("job-1-0", RECEIVER["webhook_url"])


def test_an_earlier_leader_takes_no_events(driver, repository):
    driver.ended("job-1", **RECEIVER)
    repository.lead(7)  # a term that has not begun
    with pytest.raises(UnavailableError, match="leads"):
        take(repository)
    repository.lead(None)
    assert len(take(repository)) == 1


def test_the_repr_of_jobs_and_events_has_no_secrets_or_urls(driver, repository):
    driver.ended("job-1", **RECEIVER)
    [event] = take(repository)
    shown = repr(event) + repr(repository.get_job("job-1", ALL_OWNERS))
    assert "own" not in shown.replace("owner", "")
    assert "token" not in shown

"""The repository's contract: a job that names a receiver leaves, with its end, the news of it."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.ports.repository import ALL_OWNERS
from penstock.coordinator.ports.webhook_events import DeliveryAttempt, WebhookEventState

LATER = 1e11
RECEIVER = {"webhook_url": "https://hooks.example/x?token=1", "webhook_secret": "of the job's own"}
REFUSED = DeliveryAttempt(at=5.0, secs=0.25, status=500, error="500 Internal Server Error")
ARRIVED = DeliveryAttempt(at=9.0, secs=0.5, status=204, error=None)


def take(repository, limit=9, at=LATER, until=LATER * 2):
    return repository.take_webhook_events(at, limit, until)


def test_each_way_to_end_leaves_one_notice_with_what_there_is_to_tell(desk, repository):
    desk.ended("job-1", done=2, failed=1, name="delft", labels={"city": "delft"}, **RECEIVER)
    desk.accepted("job-2", images=2, **RECEIVER)
    repository.cancel_job("job-2")
    repository.cancel_job("job-2")
    desk.accepted("job-3", images=1, bad=(0,), **RECEIVER)
    desk.accepted("job-4", **RECEIVER)
    found = {notice.job: notice for notice in take(repository)}
    assert {job: notice.summary["state"] for job, notice in found.items()} == {
        "job-1": "partial", "job-2": "cancelled", "job-3": "failed",
    }  # fmt: skip
    first = found["job-1"]
    assert (first.id, first.url, first.secret) == ("job-1-0", *RECEIVER.values())
    assert (first.summary["name"], first.summary["labels"]) == ("delft", {"city": "delft"})
    assert first.summary["finished_at"] == first.due_at == repository.get_job("job-1", ALL_OWNERS).finished_at
    counts = {"total": 3, "pending": 0, "queued": 0, "running": 0, "done": 2, "failed": 1, "cancelled": 0}
    assert first.summary["images"] == counts


def test_a_job_that_names_nobody_leaves_no_notice(desk, repository):
    desk.ended("job-1")
    assert take(repository) == repository.list_webhook_events("job-1") == []


def test_events_that_come_twice_or_late_end_a_job_once(desk, repository):
    desk.ended("job-1", done=1, failed=1, **RECEIVER)
    repository.apply([desk.done("job-1", 0), desk.failed("job-1", 1)])
    assert [notice.id for notice in repository.list_webhook_events("job-1")] == ["job-1-0"]


def test_a_retried_job_ends_again_and_tells_it_again(desk, repository):
    desk.ended("job-1", done=1, failed=1, **RECEIVER)
    repository.retry_job("job-1")
    assert [notice.summary["state"] for notice in repository.list_webhook_events("job-1")] == ["partial"]
    repository.apply([desk.done("job-1", 1, run=1)])
    told = [(notice.id, notice.summary["state"]) for notice in repository.list_webhook_events("job-1")]
    assert told == [("job-1-1", "succeeded"), ("job-1-0", "partial")]


def test_what_was_taken_is_due_again_only_when_its_time_is_over(desk, repository):
    for job in ("job-1", "job-2", "job-3"):
        desk.ended(job, **RECEIVER)
    assert take(repository, at=1.0) == []
    assert [notice.job for notice in take(repository, limit=2, until=LATER + 60)] == ["job-1", "job-2"]
    assert [notice.job for notice in take(repository)] == ["job-3"]
    assert take(repository, at=LATER + 59) == []
    assert [notice.job for notice in take(repository, at=LATER + 60)] == ["job-1", "job-2"]


def test_a_notice_waits_until_it_has_arrived_and_keeps_each_delivery(desk, repository):
    desk.ended("job-1", **RECEIVER)
    [notice] = take(repository)
    repository.record_delivery(notice, REFUSED, LATER)
    [waiting] = take(repository)
    assert (waiting.state, waiting.deliveries) == (WebhookEventState.WAITING, [REFUSED])
    repository.record_delivery(waiting, ARRIVED, None)
    [arrived] = repository.list_webhook_events("job-1")
    assert (arrived.state, arrived.deliveries) == (WebhookEventState.DELIVERED, [REFUSED, ARRIVED])
    assert take(repository, at=LATER * 9) == []


def test_a_notice_without_another_time_is_given_up(desk, repository):
    desk.ended("job-1", **RECEIVER)
    [notice] = take(repository)
    repository.record_delivery(notice, REFUSED, None)
    assert repository.list_webhook_events("job-1")[0].state is WebhookEventState.GIVEN_UP
    assert take(repository, at=LATER * 9) == []


def test_a_late_failure_of_another_coordinator_does_not_undo_an_arrival(desk, repository):
    desk.ended("job-1", **RECEIVER)
    [notice] = take(repository)
    repository.record_delivery(notice, ARRIVED, None)
    repository.record_delivery(notice, REFUSED, LATER)
    [found] = repository.list_webhook_events("job-1")
    assert (found.state, found.deliveries) == (WebhookEventState.DELIVERED, [ARRIVED, REFUSED])


def test_however_often_it_is_tried_and_retried_what_is_kept_is_bounded(desk, repository):
    desk.ended("job-1", done=0, failed=1, **RECEIVER)
    [notice] = take(repository)
    for count in range(55):
        repository.record_delivery(notice, DeliveryAttempt(float(count), 0.1, None, "no"), LATER)
    assert [entry.at for entry in repository.list_webhook_events("job-1")[0].deliveries] == [
        float(at) for at in range(5, 55)
    ]
    for run in range(1, 103):
        repository.retry_job("job-1", [0])
        repository.apply([desk.failed("job-1", 0, run=run)])
    assert [notice.run for notice in repository.list_webhook_events("job-1")] == list(range(102, 2, -1))


def test_a_deleted_jobs_notices_go_with_it(desk, repository):
    desk.ended("job-1", **RECEIVER)
    [notice] = take(repository)
    repository.delete_job("job-1")
    repository.record_delivery(notice, ARRIVED, None)
    assert take(repository, at=LATER * 9) == repository.list_webhook_events("job-1") == []


def test_a_notice_outlives_the_process_that_ended_the_job(desk, repository, open_repository):
    desk.ended("job-1", **RECEIVER)
    repository.close()
    [notice] = take(open_repository())
    assert (notice.id, notice.url) == ("job-1-0", RECEIVER["webhook_url"])


def test_a_coordinator_that_no_longer_leads_takes_no_notices(desk, repository):
    desk.ended("job-1", **RECEIVER)
    repository.lead(7)  # a term that has not begun
    with pytest.raises(UnavailableError, match="leads"):
        take(repository)
    repository.lead(None)
    assert len(take(repository)) == 1


def test_neither_secrets_nor_urls_are_shown_where_jobs_and_notices_are_printed(desk, repository):
    desk.ended("job-1", **RECEIVER)
    [notice] = take(repository)
    shown = repr(notice) + repr(repository.get_job("job-1", ALL_OWNERS))
    assert "own" not in shown.replace("owner", "")
    assert "token" not in shown

"""Repository contract: jobs that expire, and the bytes that the store has of each owner."""

from __future__ import annotations

import time

import pytest

from penstock.coordinator.database import job_transitions
from penstock.coordinator.ports.repository import ALL_OWNERS, Scope, StoredBytes, Upload, UploadFile

LATER = time.time() + 1e6


def test_a_job_expires_when_its_time_after_its_end_has_passed(driver, repository):
    driver.accepted("job-1", expire_after_secs=60.0)
    assert repository.get_job("job-1", ALL_OWNERS).expires_at is None
    driver.ended("job-2", expire_after_secs=60.0)
    driver.ended("job-3")
    ended = repository.get_job("job-2", ALL_OWNERS)
    assert ended.expires_at == ended.finished_at + 60.0
    assert repository.expire_job(ended.expires_at - 1.0) is None
    assert repository.expire_job(ended.expires_at).id == "job-2"
    assert repository.get_job("job-2", ALL_OWNERS) is None
    assert repository.list_images("job-2", limit=9) == []
    assert repository.expire_job(LATER) is None
    assert {job.id for job in repository.list_jobs(ALL_OWNERS, limit=9)} == {"job-1", "job-3"}


def test_the_job_that_expired_first_is_deleted_first(driver, repository):
    for job, secs in (("job-1", 90.0), ("job-2", 30.0), ("job-3", 60.0)):
        driver.ended(job, expire_after_secs=secs)
    assert [repository.expire_job(LATER).id for _ in range(3)] == ["job-2", "job-3", "job-1"]


def test_a_retried_job_does_not_expire_before_it_has_ended_again(driver, repository):
    driver.ended("job-1", done=1, failed=1, expire_after_secs=60.0)
    repository.retry_job("job-1", everything=True)
    assert repository.get_job("job-1", ALL_OWNERS).expires_at is None
    assert repository.expire_job(LATER) is None
    repository.cancel_job("job-1")
    assert repository.expire_job(LATER).id == "job-1"


@pytest.mark.parametrize("reader", ["received", "accepted"])
def test_a_job_whose_images_an_open_job_reads_does_not_expire(driver, repository, reader):
    driver.ended("job-1", expire_after_secs=60.0)
    getattr(driver, reader)("job-2", source_job="job-1", expire_after_secs=60.0)
    assert repository.expire_job(LATER) is None
    if reader == "received":
        repository.discard_receiving("job-2")
    else:
        repository.cancel_job("job-2")
    assert repository.expire_job(LATER).id == "job-1"


def test_images_of_an_expired_job_are_deleted_even_after_a_crash(driver, repository, monkeypatch):
    driver.ended("job-1", done=3, expire_after_secs=60.0)
    monkeypatch.setattr(job_transitions, "delete_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        repository.expire_job(LATER)
    monkeypatch.undo()
    assert repository.get_job("job-1", ALL_OWNERS) is None
    repository._prepare()  # as at the next start
    assert list(repository._database.read(job_transitions.unfinished_deletions)) == []


def test_bytes_are_counted_by_owner_and_each_upload_once(driver, repository):
    assert repository.stored_bytes(ALL_OWNERS) == []
    for upload, owner in (("u", "delft"), ("v", "delft"), ("w", "gouda")):
        repository.create_upload(Upload(upload, 1.0, owner=owner))
        file = UploadFile("a", f"uploads/{upload}/a", 5_000_000_000, "jpeg", "ab" * 32)
        repository.add_upload_file(upload, file, 1.0)
    driver.ended("job-1", owner="delft", upload="u", expire_after_secs=60.0)
    driver.accepted("job-2", owner="delft", upload="u")
    driver.accepted("job-3", owner="delft", upload="form", upload_bytes=7)
    driver.accepted("job-4", owner="gouda")
    first = repository.get_job("job-1", ALL_OWNERS)
    assert (first.upload_bytes, repository.get_job("job-3", ALL_OWNERS).upload_bytes) == (5_000_000_000, 7)
    assert first.result_bytes == sum(
        result.size for image in repository.list_images("job-1", limit=9) for result in image.results
    )
    assert first.result_bytes > 0
    delft = StoredBytes("delft", 3, 10_000_000_007, first.result_bytes, first.expires_at)
    assert repository.stored_bytes(Scope("delft")) == [delft]
    assert repository.stored_bytes(ALL_OWNERS) == [delft, StoredBytes("gouda", 1, 5_000_000_000)]
    repository.delete_job("job-1")
    assert repository.stored_bytes(Scope("delft")) == [StoredBytes("delft", 2, 10_000_000_007)]


def test_results_in_a_bucket_of_the_users_do_not_count(driver, repository):
    driver.accepted("job-1", images=1)
    repository.take_pending("job-1", 1)
    event = driver.done("job-1", 0)
    for result in event.outcomes[0].results:
        result.key = f"s3://photos/{result.key}"
    repository.apply([event])
    assert repository.get_job("job-1", ALL_OWNERS).result_bytes == 0

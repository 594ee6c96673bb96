"""The repository's contract: jobs are cancelled, retried and deleted."""

from __future__ import annotations

import threading

import pytest

from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.ports.repository import ALL_OWNERS, ConflictError, ImageNotFailedError, JobNotFoundError

PENDING, QUEUED, RUNNING, DONE, FAILED, CANCELLED = ImageState


def mixed(desk, repository) -> None:
    """One image in each state that a running job's images can have, two pending."""
    desk.accepted(images=6)
    repository.take_pending("job-1", 4)
    repository.mark_running([desk.started("job-1", 3)])
    repository.apply([desk.done("job-1", 0), desk.failed("job-1", 1)])


def test_cancel_leaves_what_is_done_or_failed_and_nothing_else(desk, repository):
    mixed(desk, repository)
    job = repository.cancel_job("job-1")
    assert (job.state, job.cancelled, job.done, job.failed) == (JobState.CANCELLED, 4, 1, 1)
    assert job.finished_at is not None
    assert desk.states() == [DONE, FAILED, CANCELLED, CANCELLED, CANCELLED, CANCELLED]
    assert desk.check_counters() == job


def test_no_image_of_a_cancelled_job_moves_any_more(desk, repository):
    mixed(desk, repository)
    job = repository.cancel_job("job-1")
    before = desk.rows()
    assert repository.take_pending("job-1", 9) == []
    assert repository.requeue_in_flight() == repository.requeue_in_flight("job-1") == 0
    repository.mark_running([desk.started("job-1", 2, 4)])
    assert not desk.apply_one(desk.done("job-1", 2, 3), desk.failed("job-1", 4)).finished
    assert (desk.rows(), repository.get_job("job-1", ALL_OWNERS)) == (before, job)
    assert repository.dispatchable() == repository.open_jobs() == []


def test_late_results_of_cancelled_images_are_handed_over_to_be_removed(desk, repository):
    mixed(desk, repository)
    repository.cancel_job("job-1")
    applied = desk.apply_one(desk.done("job-1", 0, 2), desk.done("job-1", 3), desk.done("job-1", 1))
    assert applied.stale_results == [desk.result("job-1", image).key for image in (2, 3)]


def test_cancelled_images_are_found_by_that_state_in_pages(desk, repository):
    mixed(desk, repository)
    repository.cancel_job("job-1")

    def ids(**query):
        return [image.id for image in repository.list_images("job-1", **{"limit": 3, **query})]

    assert (ids(state=CANCELLED), ids(state=CANCELLED, after=4)) == ([2, 3, 4], [5])
    assert ids(state=PENDING) == ids(state=QUEUED) == ids(state=RUNNING) == []
    assert (ids(state=DONE), ids(state=FAILED)) == ([0], [1])
    assert repository.get_image("job-1", 3).state is CANCELLED


def test_a_cancelled_job_stays_so_and_an_ended_one_cannot_be_cancelled(desk, repository):
    desk.accepted("job-1")
    assert repository.cancel_job("job-1") == repository.cancel_job("job-1")
    with pytest.raises(ConflictError):
        repository.retry_job("job-1")
    before = repository.get_job(desk.ended("job-2"), ALL_OWNERS)
    with pytest.raises(ConflictError):
        repository.cancel_job("job-2")
    assert repository.get_job("job-2", ALL_OWNERS) == before
    with pytest.raises(JobNotFoundError):
        repository.cancel_job("nobody")


def test_a_retry_makes_all_failed_images_pending_in_a_new_run(desk, repository):
    desk.ended(done=1, failed=2)
    job, count = repository.retry_job("job-1")
    assert (count, job.state, job.run, job.pending, job.finished_at) == (2, JobState.RUNNING, 1, 2, None)
    assert desk.states() == [DONE, PENDING, PENDING]
    image = repository.get_image("job-1", 1)
    assert (image.error, image.failure_number) == (None, None)
    assert (image.resume_step, image.resume_blob, image.resume_parts) == (1, "work/a/blob", 4)
    assert repository.take_pending("job-1", 9)[0] == image
    assert desk.check_counters().failures_seen == 2


def test_a_retry_of_named_images_leaves_the_other_failures(desk, repository):
    desk.ended(done=1, failed=3)
    job, count = repository.retry_job("job-1", [3, 1, 3])
    assert (count, job.failed, job.pending) == (2, 1, 2)
    assert desk.states() == [DONE, PENDING, FAILED, PENDING]
    assert desk.check_counters() == job


@pytest.mark.parametrize("named", [[0], [1, 0], [4], [-1]])
def test_a_retry_that_names_an_image_which_did_not_fail_changes_nothing(desk, repository, named):
    desk.ended(done=1, failed=2)
    before = desk.check_counters()
    with pytest.raises(ImageNotFailedError):
        repository.retry_job("job-1", named)
    assert (desk.check_counters(), desk.states()) == (before, [DONE, FAILED, FAILED])


def test_a_retry_with_nothing_to_do_changes_nothing(desk, repository):
    desk.ended("job-1", done=2, failed=0)
    desk.ended("job-2", done=1, failed=1)
    assert repository.retry_job("job-1") == (repository.get_job("job-1", ALL_OWNERS), 0)
    assert repository.retry_job("job-2", []) == (repository.get_job("job-2", ALL_OWNERS), 0)
    assert repository.get_job("job-1", ALL_OWNERS).state is JobState.SUCCEEDED


def test_only_a_job_that_has_ended_is_retried(desk, repository):
    desk.accepted(images=2)
    repository.apply([desk.failed("job-1", 0)])
    with pytest.raises(ConflictError):
        repository.retry_job("job-1")
    with pytest.raises(JobNotFoundError):
        repository.retry_job("nobody")
    assert desk.check_counters().failed == 1


def test_what_an_earlier_run_still_sends_is_ignored_after_a_retry(desk, repository):
    desk.ended(done=1, failed=1)
    repository.retry_job("job-1")
    repository.take_pending("job-1", 1)
    repository.mark_running([desk.started("job-1", 1, run=0)])
    assert desk.apply_one(desk.done("job-1", 1, run=0)).stale_results == []
    assert desk.states() == [DONE, QUEUED]
    assert desk.apply_one(desk.done("job-1", 1, run=1)).job.state is JobState.SUCCEEDED
    assert desk.check_counters().steps[1].done == 2


def test_failure_numbers_go_on_counting_after_a_retry(desk, repository):
    desk.ended(done=1, failed=2)
    repository.retry_job("job-1", [2])
    repository.apply([desk.failed("job-1", 2, run=1)])
    assert [(image.id, image.failure_number) for image in desk.rows()] == [(0, None), (1, 1), (2, 3)]
    assert desk.check_counters().failures_seen == 3


def test_images_that_failed_before_acceptance_can_be_retried(desk, repository):
    repository.accept_job(desk.received(images=2, bad=(0, 1)))
    job, count = repository.retry_job("job-1", [1])
    assert (count, job.state) == (1, JobState.RUNNING)
    assert repository.take_pending("job-1", 9)[0].id == 1
    assert desk.check_counters().steps[0].failed == 1


def test_a_retry_of_very_many_images_is_seen_whole_or_not_at_all(desk, repository):
    count = 12_000
    desk.accepted(images=count, bad=tuple(range(1, count)))
    repository.apply([desk.done("job-1", 0)])
    thread = threading.Thread(target=repository.retry_job, args=("job-1",))
    thread.start()
    desk.wait_until(lambda: repository.get_job("job-1", ALL_OWNERS).run == 1)
    assert repository.list_images("job-1", state=FAILED, limit=1) == []
    assert repository.list_failures("job-1", after=0, limit=1) == []
    assert [image.id for image in repository.take_pending("job-1", 3)] == [1, 2, 3]
    repository.apply([desk.done("job-1", 1, 5_000, run=1), desk.failed("job-1", 11_999, run=1)])
    pending = repository.list_images("job-1", state=PENDING, limit=count)
    assert [image.id for image in pending] == [i for i in range(4, count) if i not in (5_000, 11_999)]
    thread.join()
    job = desk.check_counters()
    assert (job.pending, job.queued, job.done, job.failed) == (count - 6, 2, 3, 1)


def test_a_job_cancelled_while_its_retry_is_written_is_cancelled_whole(desk, repository):
    desk.accepted(images=12_000, bad=tuple(range(12_000)))
    thread = threading.Thread(target=repository.retry_job, args=("job-1",))
    thread.start()
    desk.wait_until(lambda: repository.get_job("job-1", ALL_OWNERS).run == 1)
    assert repository.cancel_job("job-1").cancelled == 12_000
    assert len(repository.list_images("job-1", state=CANCELLED, limit=20_000)) == 12_000
    thread.join()
    assert desk.check_counters().cancelled == 12_000


def test_a_deleted_job_is_gone_with_all_that_was_its_own(desk, repository):
    desk.ended(labels={"a": "b"}, idempotency_key="k", upload="u")
    before = repository.get_job("job-1", ALL_OWNERS)
    assert repository.delete_job("job-1") == before
    assert (
        repository.get_job("job-1", ALL_OWNERS)
        is repository.find_by_key("k")
        is repository.get_image("job-1", 0)
        is None
    )
    assert (
        repository.list_jobs(ALL_OWNERS, limit=9)
        == repository.list_jobs(ALL_OWNERS, limit=9, label=("a", "b"))
        == desk.rows()
        == []
    )
    assert repository.apply([desk.done("job-1", 0)]) == []
    with pytest.raises(JobNotFoundError):
        repository.delete_job("job-1")


def test_only_a_job_that_has_ended_is_deleted(desk, repository):
    desk.accepted()
    with pytest.raises(ConflictError):
        repository.delete_job("job-1")
    assert desk.check_counters().total == 3
    repository.cancel_job("job-1")
    assert repository.delete_job("job-1").cancelled == 3


def test_a_job_of_many_pages_is_deleted_and_its_neighbours_are_not(desk, repository):
    desk.ended("job-1", done=2, failed=1)
    desk.accepted("job-2", images=11_000)
    desk.ended("job-3", done=1, failed=2)
    repository.cancel_job("job-2")
    repository.delete_job("job-2")
    desk.accepted("job-2", images=1)
    assert desk.states("job-2") == [PENDING]
    assert desk.check_counters("job-1").done == 2
    assert desk.check_counters("job-3").failed == 2

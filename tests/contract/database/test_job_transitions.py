"""Repository contract: jobs are cancelled, retried and deleted."""

from __future__ import annotations

import threading

import pytest

from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.database import job_transitions
from penstock.coordinator.ports.repository import ALL_OWNERS, ConflictError, ImageNotFailedError, JobNotFoundError

PENDING, QUEUED, RUNNING, DONE, FAILED, CANCELLED = ImageState


def create_create_mixed(driver, repository) -> None:
    """Create a running job with images in every state, two of them pending."""
    driver.accepted(images=6)
    repository.take_pending("job-1", 4)
    repository.mark_running([driver.started("job-1", 3)])
    repository.apply([driver.done("job-1", 0), driver.failed("job-1", 1)])


def test_a_cancelled_job_keeps_only_done_and_failed_images_as_they_are(driver, repository):
    create_create_mixed(driver, repository)
    job = repository.cancel_job("job-1")
    assert (job.state, job.cancelled, job.done, job.failed) == (JobState.CANCELLED, 4, 1, 1)
    assert job.finished_at is not None
    assert driver.states() == [DONE, FAILED, CANCELLED, CANCELLED, CANCELLED, CANCELLED]
    assert driver.check_counters() == job


def test_no_image_of_a_cancelled_job_changes_any_more(driver, repository):
    create_create_mixed(driver, repository)
    job = repository.cancel_job("job-1")
    before = driver.rows()
    assert repository.take_pending("job-1", 9) == []
    assert repository.requeue_in_flight() == repository.requeue_in_flight("job-1") == 0
    repository.mark_running([driver.started("job-1", 2, 4)])
    assert not driver.apply_one(driver.done("job-1", 2, 3), driver.failed("job-1", 4)).finished
    assert (driver.rows(), repository.get_job("job-1", ALL_OWNERS)) == (before, job)
    assert repository.dispatchable() == repository.open_jobs() == []


def test_late_results_of_cancelled_images_are_returned_for_deletion(driver, repository):
    create_create_mixed(driver, repository)
    repository.cancel_job("job-1")
    applied = driver.apply_one(driver.done("job-1", 0, 2), driver.done("job-1", 3), driver.done("job-1", 1))
    assert applied.stale_results == [driver.result("job-1", image).key for image in (2, 3)]


def test_results_written_before_their_image_failed_are_returned_for_deletion(driver, repository):
    driver.accepted(images=3)
    failed = driver.failed("job-1", 0, 1)
    for outcome in failed.outcomes:
        outcome.results = [driver.result("job-1", outcome.id)]
    applied = driver.apply_one(driver.done("job-1", 0), failed, failed)
    assert applied.stale_results == [driver.result("job-1", 1).key], "image 0 is done, and image 1 failed once"
    assert driver.states() == [DONE, FAILED, PENDING]
    assert repository.get_image("job-1", 1).results == []


def test_cancelled_images_are_listed_by_state_in_pages(driver, repository):
    create_create_mixed(driver, repository)
    repository.cancel_job("job-1")

    def ids(**query):
        return [image.id for image in repository.list_images("job-1", **{"limit": 3, **query})]

    assert (ids(state=CANCELLED), ids(state=CANCELLED, after=4)) == ([2, 3, 4], [5])
    assert ids(state=PENDING) == ids(state=QUEUED) == ids(state=RUNNING) == []
    assert (ids(state=DONE), ids(state=FAILED)) == ([0], [1])
    assert repository.get_image("job-1", 3).state is CANCELLED


def test_a_job_can_be_cancelled_twice_but_not_after_it_has_ended(driver, repository):
    driver.accepted("job-1")
    assert repository.cancel_job("job-1") == repository.cancel_job("job-1")
    with pytest.raises(ConflictError):
        repository.retry_job("job-1")
    before = repository.get_job(driver.ended("job-2"), ALL_OWNERS)
    with pytest.raises(ConflictError):
        repository.cancel_job("job-2")
    assert repository.get_job("job-2", ALL_OWNERS) == before
    with pytest.raises(JobNotFoundError):
        repository.cancel_job("nobody")


def test_a_retry_makes_all_failed_images_pending_in_a_new_run(driver, repository):
    driver.ended(done=1, failed=2)
    job, count = repository.retry_job("job-1")
    assert (count, job.state, job.run, job.pending, job.finished_at) == (2, JobState.RUNNING, 1, 2, None)
    assert driver.states() == [DONE, PENDING, PENDING]
    image = repository.get_image("job-1", 1)
    assert (image.error, image.failure_number) == (None, None)
    assert (image.resume_step, image.resume_blob, image.resume_parts) == (1, "work/a/blob", 4)
    assert repository.take_pending("job-1", 9)[0] == image
    assert driver.check_counters().failures_seen == 2


def test_a_retry_of_some_images_leaves_the_other_failures(driver, repository):
    driver.ended(done=1, failed=3)
    job, count = repository.retry_job("job-1", [3, 1, 3])
    assert (count, job.failed, job.pending) == (2, 1, 2)
    assert driver.states() == [DONE, PENDING, FAILED, PENDING]
    assert driver.check_counters() == job


def test_a_retry_leaves_out_images_that_it_would_not_help(driver, repository):
    driver.accepted(images=4)
    repository.apply([driver.done("job-1", 0), driver.failed("job-1", 1), driver.broken("job-1", 2, 3)])
    assert driver.check_counters().retryable == 1
    job, count = repository.retry_job("job-1")
    assert (count, job.failed, job.pending) == (1, 2, 1)
    assert driver.states() == [DONE, PENDING, FAILED, FAILED]
    repository.apply([driver.done("job-1", 1, run=1)])
    assert driver.check_counters().state is JobState.PARTIAL
    assert repository.retry_job("job-1")[1] == 0
    assert repository.retry_job("job-1", [3])[1] == 1, "an image that is named is retried"
    repository.apply([driver.broken("job-1", 3, run=2)])
    job, count = repository.retry_job("job-1", everything=True)
    assert (count, job.failures, driver.check_counters()) == (2, [], job)


@pytest.mark.parametrize("page", [1, 2, 5_000])
def test_a_retry_of_one_code_leaves_the_other_failures(driver, repository, monkeypatch, page):
    monkeypatch.setattr(
        "penstock.coordinator.database.job_transitions._FAILED_WITH_CODE", job_transitions._FAILED_WITH_CODE.limit(page)
    )
    driver.accepted(images=7)
    repository.apply([driver.failed("job-1", *range(3)), driver.failed("job-1", 3, code="step_crashed")])
    repository.apply([driver.broken("job-1", 4, 5), driver.done("job-1", 6)])
    job, count = repository.retry_job("job-1", code="step_timeout")
    assert (count, job.failed, job.pending) == (3, 3, 3)
    assert driver.states() == [PENDING, PENDING, PENDING, FAILED, FAILED, FAILED, DONE]
    assert driver.check_counters() == job
    repository.apply([driver.done("job-1", *range(3), run=1)])
    assert repository.retry_job("job-1", code="corrupt_image")[1] == 0, "a retry would not help"
    job, count = repository.retry_job("job-1", code="corrupt_image", everything=True)
    assert (count, [failure.code for failure in job.failures]) == (2, ["step_crashed"])
    assert driver.check_counters() == job


def test_failures_are_counted_and_listed_by_code(driver, repository):
    driver.accepted(images=5, failed=(0,))
    repository.apply([driver.broken("job-1", 3, 1), driver.failed("job-1", 2), driver.done("job-1", 4)])
    job = driver.check_counters()
    assert [(each.code, each.images, each.retryable) for each in job.failures] == [
        ("corrupt_image", 2, 0),
        ("step_timeout", 1, 1),
        ("unsupported_type", 1, 0),
    ]
    pages = [repository.list_images("job-1", code="corrupt_image", after=after, limit=1) for after in (-1, 1, 3)]
    assert [[image.id for image in page] for page in pages] == [[1], [3], []]
    for query in ({"code": "none\0"}, {"code": "x"}, {"code": "corrupt_image", "state": DONE}):
        assert repository.list_images("job-1", **query, limit=9) == []


def test_codes_of_custom_steps_are_counted_up_to_a_bound(driver, repository):
    driver.accepted(images=80)
    repository.apply([driver.failed("job-1", image, code=f"own-{image}") for image in range(80)])
    job = repository.get_job("job-1", ALL_OWNERS)
    assert sum(each.images for each in job.failures) == 80
    assert len(job.failures) == 51
    assert len(repository.list_images("job-1", code="internal", limit=99)) == 30


def test_working_time_leaves_out_the_pause_before_a_retry(driver, repository):
    driver.ended(done=1, failed=1)
    first = repository.get_job("job-1", ALL_OWNERS)
    assert first.run_started_at is None
    assert first.worked_secs == pytest.approx(first.finished_at - first.started_at)
    waiting, _ = repository.retry_job("job-1")
    assert waiting.seconds_worked(first.finished_at + 3600) == first.worked_secs, "nothing was taken yet"
    repository.take_pending("job-1", 1)
    running = repository.get_job("job-1", ALL_OWNERS)
    assert running.seconds_worked(running.run_started_at + 60) == pytest.approx(first.worked_secs + 60)
    repository.apply([driver.done("job-1", 1, run=1)])
    second = repository.get_job("job-1", ALL_OWNERS)
    assert second.worked_secs == pytest.approx(first.worked_secs + second.finished_at - running.run_started_at)
    assert (sum(second.throughput.done), sum(second.throughput.failed)) == (2, 1)


@pytest.mark.parametrize("named", [[0], [1, 0], [4], [-1]])
def test_a_retry_of_an_image_that_has_not_failed_changes_nothing(driver, repository, named):
    driver.ended(done=1, failed=2)
    before = driver.check_counters()
    with pytest.raises(ImageNotFailedError):
        repository.retry_job("job-1", named)
    assert (driver.check_counters(), driver.states()) == (before, [DONE, FAILED, FAILED])


def test_a_retry_with_nothing_to_do_changes_nothing(driver, repository):
    driver.ended("job-1", done=2, failed=0)
    driver.ended("job-2", done=1, failed=1)
    assert repository.retry_job("job-1") == (repository.get_job("job-1", ALL_OWNERS), 0)
    assert repository.retry_job("job-2", []) == (repository.get_job("job-2", ALL_OWNERS), 0)
    assert repository.get_job("job-1", ALL_OWNERS).state is JobState.SUCCEEDED


def test_only_a_job_that_has_ended_is_retried(driver, repository):
    driver.accepted(images=2)
    repository.apply([driver.failed("job-1", 0)])
    with pytest.raises(ConflictError):
        repository.retry_job("job-1")
    with pytest.raises(JobNotFoundError):
        repository.retry_job("nobody")
    assert driver.check_counters().failed == 1


def test_events_of_an_earlier_run_are_ignored_after_a_retry(driver, repository):
    driver.ended(done=1, failed=1)
    repository.retry_job("job-1")
    repository.take_pending("job-1", 1)
    repository.mark_running([driver.started("job-1", 1, run=0)])
    assert driver.apply_one(driver.done("job-1", 1, run=0)).stale_results == []
    assert driver.states() == [DONE, QUEUED]
    assert driver.apply_one(driver.done("job-1", 1, run=1)).job.state is JobState.SUCCEEDED
    assert driver.check_counters().steps[1].done == 2


def test_failure_numbers_continue_after_a_retry(driver, repository):
    driver.ended(done=1, failed=2)
    repository.retry_job("job-1", [2])
    repository.apply([driver.failed("job-1", 2, run=1)])
    assert [(image.id, image.failure_number) for image in driver.rows()] == [(0, None), (1, 1), (2, 3)]
    assert driver.check_counters().failures_seen == 3


def test_images_that_failed_before_acceptance_can_be_retried(driver, repository):
    repository.accept_job(driver.received(images=2, failed=(0, 1)))
    job, count = repository.retry_job("job-1", [1])
    assert (count, job.state) == (1, JobState.RUNNING)
    assert repository.take_pending("job-1", 9)[0].id == 1
    assert driver.check_counters().steps[0].failed == 1


def test_a_retry_of_many_images_is_visible_at_once(driver, repository):
    count = 12_000
    driver.accepted(images=count, failed=tuple(range(1, count)))
    repository.apply([driver.done("job-1", 0)])
    thread = threading.Thread(target=repository.retry_job, args=("job-1",), kwargs={"everything": True})
    thread.start()
    driver.wait_until(lambda: repository.get_job("job-1", ALL_OWNERS).run == 1)
    assert repository.list_images("job-1", state=FAILED, limit=1) == []
    assert repository.list_failures("job-1", after=0, limit=1) == []
    assert [image.id for image in repository.take_pending("job-1", 3)] == [1, 2, 3]
    repository.apply([driver.done("job-1", 1, 5_000, run=1), driver.failed("job-1", 11_999, run=1)])
    pending = repository.list_images("job-1", state=PENDING, limit=count)
    assert [image.id for image in pending] == [i for i in range(4, count) if i not in (5_000, 11_999)]
    thread.join()
    job = driver.check_counters()
    assert (job.pending, job.queued, job.done, job.failed) == (count - 6, 2, 3, 1)


def test_a_job_can_be_cancelled_while_its_retry_is_written(driver, repository):
    driver.accepted(images=12_000, failed=tuple(range(12_000)))
    thread = threading.Thread(target=repository.retry_job, args=("job-1",), kwargs={"everything": True})
    thread.start()
    driver.wait_until(lambda: repository.get_job("job-1", ALL_OWNERS).run == 1)
    assert repository.cancel_job("job-1").cancelled == 12_000
    assert len(repository.list_images("job-1", state=CANCELLED, limit=20_000)) == 12_000
    thread.join()
    assert driver.check_counters().cancelled == 12_000


def test_a_deleted_job_is_gone_with_its_labels_key_and_images(driver, repository):
    driver.ended(labels={"a": "b"}, idempotency_key="k", upload="u")
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
        == driver.rows()
        == []
    )
    assert repository.apply([driver.done("job-1", 0)]) == []
    with pytest.raises(JobNotFoundError):
        repository.delete_job("job-1")


def test_only_a_job_that_has_ended_is_deleted(driver, repository):
    driver.accepted()
    with pytest.raises(ConflictError):
        repository.delete_job("job-1")
    assert driver.check_counters().total == 3
    repository.cancel_job("job-1")
    assert repository.delete_job("job-1").cancelled == 3


def test_a_job_of_many_pages_is_deleted_without_other_jobs(driver, repository):
    driver.ended("job-1", done=2, failed=1)
    driver.accepted("job-2", images=11_000)
    driver.ended("job-3", done=1, failed=2)
    repository.cancel_job("job-2")
    repository.delete_job("job-2")
    driver.accepted("job-2", images=1)
    assert driver.states("job-2") == [PENDING]
    assert driver.check_counters("job-1").done == 2
    assert driver.check_counters("job-3").failed == 2


def test_jobs_that_have_ended_are_deleted_together_with_their_images(driver, repository):
    for name in ("ended", "open", "kept"):
        repository.create_accepted(driver.job(name), [driver.image(0)])
    repository.cancel_job("ended")
    repository.cancel_job("kept")
    deleted = repository.delete_ended(["ended", "open", "gone"])
    assert [(job.id, job.state) for job in deleted] == [("ended", JobState.CANCELLED)]
    assert repository.get_job("ended", ALL_OWNERS) is None
    assert repository.list_images("ended", limit=9) == []
    assert [len(repository.list_images(name, limit=9)) for name in ("open", "kept")] == [1, 1]
    assert repository.delete_ended(["open"]) == []
    assert repository.delete_ended([]) == []

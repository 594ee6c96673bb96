"""Repository contract: jobs are created, accepted, discarded and listed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.database.job_creation import IMAGES_PER_BATCH, batches
from penstock.coordinator.ports.repository import (
    ALL_OWNERS,
    ConflictError,
    DuplicateImageError,
    Image,
    JobNotFoundError,
    StepTotals,
    StoredPlan,
)


def test_a_job_is_stored_unchanged(driver, repository):
    given = {
        "name": "delft",
        "labels": {"city": "delft", "år": "2026"},
        "priority": -3,
        "weight": 7,
        "chunk_size": 4,
        "on_failure": "cancel",
        "upload": "u1",
        "idempotency_key": "k",
        "fingerprint": "f",
    }
    driver.accepted(images=2, **given)
    job = repository.get_job("job-1", ALL_OWNERS)
    assert {name: getattr(job, name) for name in given} == given
    assert (job.id, job.state, job.document, job.created_at) == ("job-1", JobState.ACCEPTED, {"output": "jpg"}, 1.5)
    assert job.plan.steps == ("resize", "blur", "encode")
    assert (job.total, job.pending, job.run, job.started_at, job.finished_at) == (2, 2, 0, None, None)
    assert job.steps == [StepTotals()] * 3


def test_images_are_stored_unchanged_and_in_order(driver, repository):
    driver.received(images=0)
    given = [driver.image(0, size=5_000_000_000), driver.failed_image(1), driver.image(2)]
    assert repository.add_images("job-1", given[:2]) == 2
    assert repository.add_images("job-1", given[2:]) == 1
    repository.accept_job("job-1")
    found = driver.rows()
    assert (found[0], found[2]) == (given[0], given[2])
    assert found[1].error == given[1].error
    assert repository.get_image("job-1", 2) == given[2]


def test_a_receiving_job_is_found_only_by_its_idempotency_key(driver, repository):
    driver.received(idempotency_key="k", upload="u")
    assert repository.find_by_key("k").id == "job-1"
    assert repository.get_job("job-1", ALL_OWNERS) is repository.get_image("job-1", 0) is None
    assert driver.rows() == []
    assert (
        repository.list_jobs(ALL_OWNERS, limit=10)
        == repository.list_jobs(ALL_OWNERS, limit=10, state=JobState.RECEIVING)
        == []
    )
    assert repository.dispatchable() == repository.open_jobs() == []
    assert repository.take_pending("job-1", 5) == []
    assert repository.apply([driver.done("job-1", 0)]) == []
    assert repository.count_open_jobs() == 1
    assert repository.uploads_in_use(["u", "v"]) == {"u"}


def test_a_receiving_job_cannot_be_cancelled_retried_or_deleted(driver, repository):
    driver.received()
    for change in (repository.cancel_job, repository.retry_job, repository.delete_job):
        with pytest.raises(JobNotFoundError):
            change("job-1")
    assert repository.accept_job("job-1").pending == 3


def test_images_that_failed_before_acceptance_are_counted_and_numbered(driver, repository):
    driver.accepted(images=4, failed=(1, 3))
    job = driver.check_counters()
    assert (job.state, job.pending, job.failed, job.failures_seen) == (JobState.ACCEPTED, 2, 2, 2)
    assert job.steps[0].failed == 2
    assert [(image.id, image.failure_number) for image in driver.rows()] == [(0, None), (1, 1), (2, None), (3, 2)]


@pytest.mark.parametrize(
    ("images", "failed", "state"),
    [(2, (0, 1), JobState.FAILED), (0, (), JobState.SUCCEEDED), (2, (0,), JobState.ACCEPTED)],
)
def test_a_job_without_images_left_to_process_ends_when_it_is_accepted(driver, repository, images, failed, state):
    job = repository.accept_job(driver.received(images=images, failed=failed))
    assert job.state is state
    assert (job.finished_at is None) == (state is JobState.ACCEPTED)
    assert repository.get_job("job-1", ALL_OWNERS) == job


def test_only_a_receiving_job_takes_images_or_can_be_accepted(driver, repository):
    driver.accepted()
    with pytest.raises(ConflictError):
        repository.add_images("job-1", [driver.image(3)])
    with pytest.raises(ConflictError):
        repository.accept_job("job-1")
    with pytest.raises(JobNotFoundError):
        repository.add_images("nobody", [driver.image(0)])
    assert driver.check_counters().total == 3


def test_a_plan_with_a_step_that_is_no_longer_installed_can_be_read(driver, repository):
    document = [{"op": "vanished", "strength": 3}, {"op": "encode", "format": "png"}]
    repository.create_job(replace(driver.job("job-1"), plan=StoredPlan(document)))
    plan = repository.accept_job("job-1").plan
    assert (plan.steps, plan.operations) == (("vanished", "encode"), document)


@pytest.mark.parametrize("twin", [{"id": 0}, {"name": "photos/0.jpg"}, {"stem": "0"}])
def test_no_two_images_of_a_job_share_id_name_or_stem(driver, repository, twin):
    driver.received(images=2)
    driver.accepted("job-2", images=2)
    image = type(driver.image(0))(**{"id": 2, "name": "photos/2.jpg", "stem": "2", "ref": "r", **twin})
    with pytest.raises(ConflictError):
        repository.add_images("job-1", [image])
    assert repository.accept_job("job-1").total == 2
    driver.check_counters()


def test_only_old_receiving_jobs_can_be_discarded(driver, repository):
    for number, created_at in enumerate((10.0, 20.0, 30.0)):
        repository.create_job(replace(driver.job(f"job-{number}"), created_at=created_at))
    repository.accept_job("job-0")
    assert repository.discard_receiving(before=20.0) == repository.discard_receiving("job-2", before=30.0) == []
    assert repository.discard_receiving(before=30.0) == ["job-1"]
    assert repository.accept_job("job-2").created_at == 30.0
    assert repository.discard_receiving() == []


def test_images_added_before_an_error_can_be_discarded(driver, repository):
    def stream():
        yield from (driver.image(i) for i in range(6_000))
        raise OSError("upload broke off")

    driver.received(images=0, idempotency_key="k")
    with pytest.raises(OSError, match="broke off"):
        repository.add_images("job-1", stream())
    assert repository.discard_receiving("job-1") == ["job-1"]
    assert repository.find_by_key("k") is None
    driver.accepted(images=1, idempotency_key="k")
    assert len(driver.rows()) == driver.check_counters().total == 1


def test_only_receiving_jobs_are_discarded(driver, repository):
    driver.received("job-1")
    driver.accepted("job-2")
    driver.received("job-3")
    assert repository.discard_receiving("job-2") == []
    assert sorted(repository.discard_receiving()) == ["job-1", "job-3"]
    assert repository.count_open_jobs() == 1
    assert driver.check_counters("job-2").total == 3


@pytest.mark.parametrize("end", ["receiving", "accepted", "ended"])
def test_an_idempotency_key_is_taken_whatever_the_state_of_its_job(driver, repository, end):
    getattr(driver, end if end != "receiving" else "received")(idempotency_key="k")
    with pytest.raises(ConflictError):
        repository.create_job(driver.job("job-2", idempotency_key="k"))
    repository.create_job(driver.job("job-3"))
    repository.create_job(driver.job("job-4"))
    assert repository.find_by_key("k").id == "job-1"


def test_only_one_of_two_threads_creates_a_job_with_the_same_key(driver, repository):
    for turn in range(10):
        barrier = threading.Barrier(2)
        refused = []

        def create(job, turn=turn, barrier=barrier, refused=refused):
            barrier.wait()
            try:
                repository.create_job(driver.job(job, idempotency_key=f"key-{turn}"))
            except ConflictError:
                refused.append(job)

        names = [f"job-{turn}-a", f"job-{turn}-b"]
        threads = [threading.Thread(target=create, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 1
        assert repository.find_by_key(f"key-{turn}").id in set(names) - set(refused)


def test_jobs_are_listed_newest_first_page_by_page(driver, repository):
    for number in (3, 1, 5, 2, 4):
        driver.accepted(f"job-{number}", images=0)
    first = [job.id for job in repository.list_jobs(ALL_OWNERS, limit=2)]
    second = [job.id for job in repository.list_jobs(ALL_OWNERS, limit=2, before=first[-1])]
    third = [job.id for job in repository.list_jobs(ALL_OWNERS, limit=2, before=second[-1])]
    assert (first, second, third) == (["job-5", "job-4"], ["job-3", "job-2"], ["job-1"])


def test_ids_sort_as_bytes(driver, repository):
    for name in ("Zebra", "apple", "Apple"):
        driver.accepted(name, images=0)
    assert [job.id for job in repository.list_jobs(ALL_OWNERS, limit=9)] == ["apple", "Zebra", "Apple"]


def test_transient_jobs_are_found_by_label_or_search_alone(driver, repository):
    driver.accepted("job-1")
    passing = replace(driver.job("job-2"), document={"transient": True}, labels={"transient": "true"})
    repository.create_accepted(passing, [driver.image(0)])
    driver.accepted("job-3", labels={"transient": "true"}, name='"transient": true')
    for filters, found in (
        ({}, ["job-3", "job-1"]),
        ({"state": JobState.ACCEPTED}, ["job-3", "job-1"]),
        ({"label": ("transient", "true")}, ["job-3", "job-2"]),
        ({"search": "job-2"}, ["job-2"]),
    ):
        assert [job.id for job in repository.list_jobs(ALL_OWNERS, limit=9, **filters)] == found
        assert repository.count_found_jobs(ALL_OWNERS, **filters) == len(found)


def test_jobs_are_listed_by_label_and_state_in_pages(driver, repository):
    for number in range(8):
        labels = {"city": "delft" if number % 2 else "lund", "year": "2026"}
        (driver.ended if number < 4 else driver.accepted)(f"job-{number}", labels=labels)

    def ids(**query):
        return [job.id for job in repository.list_jobs(ALL_OWNERS, **{"limit": 9, **query})]

    assert ids(label=("city", "delft")) == ["job-7", "job-5", "job-3", "job-1"]
    assert ids(label=("city", "delft"), limit=1, before="job-5") == ["job-3"]
    assert ids(label=("city", "lund"), state=JobState.PARTIAL) == ["job-2", "job-0"]
    assert ids(label=("year", "delft")) == ids(label=("delft", "city")) == []
    assert ids(state=JobState.ACCEPTED, before="job-6") == ["job-5", "job-4"]


def test_jobs_are_searched_by_a_part_of_their_name_or_the_beginning_of_their_id(driver, repository):
    for number, name in enumerate(["Delft centre", "100% of Lund", "delft_north", ""]):
        driver.accepted(f"job-{number}", images=0, name=name)

    def ids(search, **filters):
        found = [job.id for job in repository.list_jobs(ALL_OWNERS, search=search, limit=9, **filters)]
        assert repository.count_found_jobs(ALL_OWNERS, search=search, **filters) == len(found)
        return found

    assert ids("DELFT") == ["job-2", "job-0"]
    assert ids("delft", state=JobState.PARTIAL) == []
    assert ids("job-3") == ["job-3"]
    assert (ids("%"), ids("t_n"), ids("\\"), ids("\0")) == (["job-1"], ["job-2"], [], [])
    assert len(ids("")) == 4


def test_jobs_are_counted_by_state(driver, repository):
    driver.received("job-1")
    driver.accepted("job-2")
    driver.accepted("job-3")
    driver.ended("job-4")
    counts = repository.count_jobs()
    assert {state: count for state, count in counts.items() if count} == {
        JobState.RECEIVING: 1,
        JobState.ACCEPTED: 2,
        JobState.PARTIAL: 1,
    }
    assert repository.count_open_jobs() == 3


def test_jobs_with_pending_images_are_dispatchable_by_priority_then_age(driver, repository):
    driver.accepted("job-1", images=1)
    driver.accepted("job-2", images=1, priority=5)
    driver.accepted("job-3", images=1, priority=5)
    driver.accepted("job-4", images=1, priority=-5)
    driver.ended("job-5")
    assert [job.id for job in repository.dispatchable()] == ["job-2", "job-3", "job-1", "job-4"]
    repository.take_pending("job-3", 1)
    assert [job.id for job in repository.dispatchable()] == ["job-2", "job-1", "job-4"]
    assert {job.id for job in repository.open_jobs()} == {"job-1", "job-2", "job-3", "job-4"}


def test_images_are_paged_by_id_and_filtered_by_state(driver, repository):
    driver.accepted(images=10)
    repository.apply([driver.done("job-1", 1, 3, 5), driver.failed("job-1", 4, 8)])

    def ids(**query):
        return [image.id for image in repository.list_images("job-1", **{"limit": 3, **query})]

    assert (ids(), ids(after=2), ids(after=8)) == ([0, 1, 2], [3, 4, 5], [9])
    assert (ids(state=ImageState.DONE, after=1), ids(state=ImageState.FAILED)) == ([3, 5], [4, 8])
    assert (ids(state=ImageState.PENDING, after=2), ids(state=ImageState.CANCELLED)) == ([6, 7, 9], [])
    assert repository.list_images("nobody", limit=3) == []


def test_an_image_is_found_by_id_name_and_stem(driver, repository):
    driver.accepted("job-1", images=3)
    driver.accepted("job-2", images=2)
    image = repository.get_image("job-1", 2)
    assert image.id == 2
    assert repository.image_by_name("job-1", "photos/2.jpg") == repository.image_by_stem("job-1", "2") == image
    assert repository.get_image("job-2", 2) is repository.get_image("nobody", 0) is None
    assert repository.image_by_name("job-1", "2") is repository.image_by_stem("job-2", "2") is None


def test_an_upload_is_in_use_until_its_last_job_is_deleted(driver, repository):
    driver.ended("job-1", upload="u")
    driver.ended("job-2", upload="u")
    repository.delete_job("job-1")
    many = [f"other-{number}" for number in range(3_000)]
    assert repository.uploads_in_use([*many, "u"]) == {"u"}
    repository.delete_job("job-2")
    assert repository.uploads_in_use(["u"]) == repository.uploads_in_use([]) == set()


def test_images_keep_the_regions_that_came_with_them(driver, repository):
    driver.received(images=0)
    given = [
        driver.image(0),
        driver.image(1, regions='[{"box":[1.0,2.0,3.0,4.0]}]'),
        driver.image(2, regions="uploads/u/3"),
    ]
    repository.add_images("job-1", [*given, driver.image(3)])
    repository.add_images("job-1", [driver.image(4)])
    repository.accept_job("job-1")
    expected = [None, given[1].regions, "uploads/u/3", None, None]
    assert [image.regions for image in driver.rows()] == expected
    assert [image.regions for image in repository.take_pending("job-1", 9)] == expected
    repository.apply([driver.failed("job-1", 1), driver.done("job-1", 0, 2, 3, 4)])
    repository.retry_job("job-1")
    assert [image.regions for image in repository.take_pending("job-1", 9)] == [given[1].regions]


def test_images_with_many_regions_are_added_in_smaller_batches():
    given = [Image(number, "", "", "", regions="x" * 3_000_000) for number in range(7)]
    given += [Image(7 + number, "", "", "") for number in range(IMAGES_PER_BATCH + 1)]
    found = list(batches(given))
    assert [len(batch) for batch in found] == [3, 3, IMAGES_PER_BATCH, 2]
    assert [image for batch in found for image in batch] == given


def test_a_job_keeps_what_was_left_out_of_it(driver, repository):
    skipped = {"count": 1, "first": [{"name": "notes.txt", "reason": "text"}]}
    accepted = repository.accept_job(driver.received(), skipped)
    assert accepted.document == {"output": "jpg", "skipped": skipped}
    assert repository.get_job("job-1", ALL_OWNERS) == accepted


def test_a_small_job_is_created_and_accepted_at_once(driver, repository):
    given = [driver.image(0, size=7), driver.failed_image(1)]
    job = replace(driver.job("job-1"), labels={"city": "delft"}, owner="delft", upload="u1")
    accepted = repository.create_accepted(job, given)
    assert accepted == repository.get_job("job-1", ALL_OWNERS)
    assert (accepted.state, accepted.total, accepted.pending, accepted.failed) == (JobState.ACCEPTED, 2, 1, 1)
    assert repository.list_images("job-1", limit=9)[0] == given[0]
    assert [found.id for found in repository.list_jobs(ALL_OWNERS, label=("city", "delft"), limit=9)] == ["job-1"]
    assert repository.usage("delft", time.time()).images_today == 2
    assert sum(repository.totals().values()) == 1
    assert repository.take_pending("job-1", 9) == given[:1]


def test_a_small_job_ends_at_once_if_all_its_images_have_failed(driver, repository):
    accepted = repository.create_accepted(driver.job("job-1"), [driver.failed_image(0)])
    assert (accepted.state, accepted.failures_seen) == (JobState.FAILED, 1)
    assert accepted.finished_at is not None
    assert repository.get_job("job-1", ALL_OWNERS) == accepted


def test_a_small_job_that_is_dispatched_at_once_has_nothing_pending(driver, repository):
    given = [driver.image(0, size=7), driver.image(1)]
    started = repository.create_dispatched(driver.job("job-1"), given)
    assert started == repository.get_job("job-1", ALL_OWNERS)
    assert (started.state, started.queued, started.pending) == (JobState.RUNNING, 2, 0)
    assert started.started_at is not None
    assert repository.take_pending("job-1", 9) == []
    assert repository.requeue_in_flight("job-1") == 2
    assert repository.take_pending("job-1", 9) == given


def test_of_a_small_job_that_cannot_be_created_nothing_stays(driver, repository):
    with pytest.raises(DuplicateImageError):
        repository.create_accepted(driver.job("job-1"), [driver.image(0), driver.image(0)])
    assert repository.get_job("job-1", ALL_OWNERS) is None
    assert repository.count_open_jobs() == 0
    repository.create_accepted(driver.job("job-1"), [driver.image(0)])
    with pytest.raises(ConflictError):
        repository.create_accepted(driver.job("job-1"), [driver.image(0)])

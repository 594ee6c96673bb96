"""Repository contract: images of large jobs are packed, found nevertheless, and unpacked."""

from __future__ import annotations

import pytest

from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.database.job_creation import IMAGES_PER_BATCH
from penstock.coordinator.database.job_transitions import IMAGES_PER_PAGE
from penstock.coordinator.ports.repository import ALL_OWNERS

COUNT = 2 * IMAGES_PER_BATCH + 10
FAILED, WITH_REGIONS = IMAGES_PER_BATCH + 3, IMAGES_PER_BATCH + 5
PACKED = COUNT - IMAGES_PER_BATCH - 2


@pytest.fixture
def given(driver, repository):
    """The images of a job whose later ones are packed, but for one that has failed and one with regions."""
    images = [driver.image(number, size=number) for number in range(COUNT)]
    images[FAILED] = driver.failed_image(FAILED)
    images[WITH_REGIONS].regions = "[]"
    driver.received(images=0)
    assert repository.add_images("job-1", iter(images)) == COUNT
    repository.accept_job("job-1")
    return images


def read(repository, limit=1_000, **query):
    found, after = [], -1
    while page := repository.list_images("job-1", after=after, limit=limit, **query):
        found += page
        after = page[-1].id
    return found


def unpack_all(repository):
    return sum(iter(lambda: repository.unpack_images("job-1"), 0))


def without_failure(images):
    return [image for image in images if image.id != FAILED]


def test_a_job_of_which_most_images_are_packed_counts_all_of_them(given, driver, repository):
    job = repository.get_job("job-1", ALL_OWNERS)
    assert (job.total, job.pending, job.failed, job.packed) == (COUNT, COUNT - 1, 1, PACKED)
    assert unpack_all(repository) == PACKED
    assert repository.get_job("job-1", ALL_OWNERS).packed == 0
    driver.check_counters()


def test_packed_images_are_read_as_all_others_in_the_order_of_their_ids(given, repository):
    for _ in range(2):
        assert without_failure(read(repository)) == without_failure(given)
        assert read(repository, state=ImageState.PENDING) == without_failure(given)
        assert [image.id for image in read(repository, state=ImageState.FAILED)] == [FAILED]
        assert read(repository, state=ImageState.DONE) == read(repository, code="corrupt_image") == []
        around = repository.list_images("job-1", after=FAILED - 3, limit=5)
        assert [image.id for image in around] == [*range(FAILED - 2, FAILED + 3)]
        unpack_all(repository)


def test_a_packed_image_is_found_by_its_id_name_and_stem(given, repository):
    for _ in range(2):
        for image in (given[0], given[WITH_REGIONS + 1], given[-1]):
            assert repository.get_image("job-1", image.id) == image
            assert repository.image_by_name("job-1", image.name) == image
            assert repository.image_by_stem("job-1", image.stem) == image
        assert repository.get_image("job-1", COUNT) is repository.image_by_name("job-1", "x") is None
        unpack_all(repository)


def test_packed_images_are_taken_once_they_are_unpacked(given, repository):
    taken = repository.take_pending("job-1", COUNT)
    assert [image.id for image in taken] == [*range(IMAGES_PER_BATCH), WITH_REGIONS]
    assert repository.take_pending("job-1", COUNT) == []
    assert repository.unpack_images("job-1") == IMAGES_PER_BATCH - 2
    taken = repository.take_pending("job-1", COUNT)
    assert [(image.id, image.size) for image in taken[:4]] == [
        (number, number) for number in range(IMAGES_PER_BATCH, IMAGES_PER_BATCH + 5) if number != FAILED
    ]
    assert repository.unpack_images("job-1") == 10
    assert repository.unpack_images("job-1") == 0
    assert [image.id for image in repository.take_pending("job-1", COUNT)] == [*range(COUNT - 10, COUNT)]


def test_a_coordinator_that_starts_later_unpacks_the_rest(given, driver, repository, open_repository):
    repository.unpack_images("job-1")
    repository.close()
    driver.repository = later = open_repository()
    assert [later.unpack_images("job-1"), later.unpack_images("job-1")] == [10, 0]
    assert len(driver.rows()) == COUNT
    driver.check_counters()


def test_a_job_with_packed_images_ends_only_with_the_last_of_them(given, driver, repository):
    while taken := repository.take_pending("job-1", 2_000) or repository.unpack_images("job-1"):
        if isinstance(taken, list):
            applied = driver.apply_one(driver.done("job-1", *(image.id for image in taken)))
    assert applied.finished
    assert (applied.job.state, applied.job.done, applied.job.failed) == (JobState.PARTIAL, COUNT - 1, 1)


def test_packed_images_of_a_cancelled_job_are_cancelled(given, repository):
    repository.cancel_job("job-1")
    assert len(read(repository, limit=10_000, state=ImageState.CANCELLED)) == COUNT - 1
    assert read(repository, state=ImageState.PENDING) == []
    assert repository.get_image("job-1", COUNT - 1).state is ImageState.CANCELLED


@pytest.mark.parametrize("how", ["delete_job", "delete_ended", "discard_receiving"])
def test_packed_images_are_deleted_with_their_job(driver, repository, how):
    driver.received(images=IMAGES_PER_PAGE + 10)
    if how != "discard_receiving":
        repository.accept_job("job-1")
        repository.cancel_job("job-1")
    getattr(repository, how)(["job-1"] if how == "delete_ended" else "job-1")
    assert repository.unpack_images("job-1") == 0
    driver.accepted(images=1)
    assert len(read(repository)) == 1

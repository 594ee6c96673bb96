"""Repository contract: totals of ended images, and the leader's status."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import ImageState
from penstock.coordinator.ports.repository import Repository


def test_every_ended_image_counts_once_under_its_outcome(driver, repository):
    assert repository.totals() == {}
    driver.accepted(images=5)
    repository.take_pending("job-1", 4)
    for _ in range(2):
        repository.apply([driver.done("job-1", 0, 0, 1), driver.failed("job-1", 2, 1), driver.done("job-1", 3, run=1)])
    assert repository.totals() == {"done": 2, "step_timeout": 1}
    for _ in range(2):
        repository.cancel_job("job-1")
    repository.apply([driver.done("job-1", 3)])
    assert repository.totals() == {"cancelled": 2, "done": 2, "step_timeout": 1}


def test_totals_include_all_jobs_and_deleted_ones(driver, repository, open_repository):
    driver.accepted("job-1", images=2)
    driver.accepted("job-2", images=2)
    repository.apply([driver.done("job-1", 0, 1), driver.failed("job-2", 0), driver.done("job-2", 1)])
    repository.delete_job("job-1")
    assert repository.totals() == open_repository().totals() == {"done": 3, "step_timeout": 1}


def test_images_of_jobs_that_were_never_stored_count_too(driver, repository):
    driver.accepted(images=1, owner="delft")
    repository.apply([driver.done("job-1", 0)])
    repository.count_unstored(Counter({"delft": 3, "": 2}), Counter({"done": 4, "step_timeout": 1}))
    assert repository.totals() == {"done": 5, "step_timeout": 1}
    assert repository.usage("delft", time.time()).images_today == 4
    repository.count_unstored(Counter(), Counter())
    assert repository.totals() == {"done": 5, "step_timeout": 1}


@pytest.mark.parametrize("named", [None, [1]])
def test_a_retried_image_counts_again_when_it_ends_again(driver, repository, named):
    driver.ended(done=1, failed=1)
    repository.retry_job("job-1", named)
    assert repository.totals() == {"done": 1, "step_timeout": 1}
    repository.apply([driver.failed("job-1", 1, run=1)])
    assert repository.totals() == {"done": 1, "step_timeout": 2}


def test_images_that_failed_before_acceptance_count_when_the_job_is_accepted(driver, repository):
    driver.received("job-1", images=4, failed=(0, 2))
    driver.received("job-2", images=2, failed=(0, 1))
    other = driver.image(9, state=ImageState.FAILED, error=driver.error("empty_file", "resize"))
    repository.add_images("job-1", [other])
    assert repository.totals() == {}
    repository.accept_job("job-1")
    assert repository.totals() == {"empty_file": 1, "unsupported_type": 2}
    repository.discard_receiving("job-2")
    assert repository.totals() == {"empty_file": 1, "unsupported_type": 2}
    assert driver.check_counters().failed == 3


@pytest.mark.parametrize("code", ["", "a\0b", "x" * 500, "no code at all", "image_48112_is_odd", "done", "cancelled"])
def test_an_unknown_code_counts_as_internal_and_is_stored_unchanged(driver, repository, code):
    driver.accepted(images=1)
    event = driver.failed("job-1", 0)
    event.outcomes[0].error.code = code
    repository.apply([event])
    assert repository.totals() == {"internal": 1}
    assert repository.get_image("job-1", 0).error["code"] == code


def test_concurrent_transactions_lose_no_count_and_do_not_deadlock(driver, repository, open_repository):
    def work(repository: Repository, number: int) -> None:
        mine = type(driver)(repository)
        for turn in range(10):
            job = mine.accepted(f"job-{number}-{turn}", images=8, failed=(0,))
            ends = [mine.failed(job, 1), mine.done(job, 2, 3)]
            repository.apply(ends[:: 1 if number % 2 else -1])
            repository.cancel_job(job)

    repositories = [open_repository() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, repositories, range(4)))
    assert repository.totals() == {"cancelled": 160, "done": 80, "step_timeout": 40, "unsupported_type": 40}


def test_the_leaders_last_status_is_visible_to_all(repository, open_repository):
    assert repository.get_status() is None
    repository.put_status("the first")
    first_at, _ = repository.get_status()
    repository.put_status('{"läuft": true}' * 1_000)
    put_at, status = open_repository().get_status()
    assert status == '{"läuft": true}' * 1_000
    assert put_at >= first_at > 1.7e9


def test_status_and_totals_need_a_reachable_database(repository):
    repository.close()
    for call in (lambda: repository.put_status("x"), repository.get_status, repository.totals):
        with pytest.raises(UnavailableError):
            call()

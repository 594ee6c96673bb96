"""The repository's contract: how many images ever ended, over all jobs, each end counted once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import ImageState
from penstock.coordinator.ports.repository import Repository


def test_each_end_counts_once_under_its_outcome(desk, repository):
    assert repository.totals() == {}
    desk.accepted(images=5)
    repository.take_pending("job-1", 4)
    for _ in range(2):
        repository.apply([desk.done("job-1", 0, 0, 1), desk.failed("job-1", 2, 1), desk.done("job-1", 3, run=1)])
    assert repository.totals() == {"done": 2, "step_timeout": 1}
    for _ in range(2):
        repository.cancel_job("job-1")
    repository.apply([desk.done("job-1", 3)])
    assert repository.totals() == {"cancelled": 2, "done": 2, "step_timeout": 1}


def test_totals_go_over_all_jobs_and_outlive_them(desk, repository, open_repository):
    desk.accepted("job-1", images=2)
    desk.accepted("job-2", images=2)
    repository.apply([desk.done("job-1", 0, 1), desk.failed("job-2", 0), desk.done("job-2", 1)])
    repository.delete_job("job-1")
    assert repository.totals() == open_repository().totals() == {"done": 3, "step_timeout": 1}


@pytest.mark.parametrize("named", [None, [1]])
def test_a_retry_takes_nothing_back_and_the_new_end_counts_too(desk, repository, named):
    desk.ended(done=1, failed=1)
    repository.retry_job("job-1", named)
    assert repository.totals() == {"done": 1, "step_timeout": 1}
    repository.apply([desk.failed("job-1", 1, run=1)])
    assert repository.totals() == {"done": 1, "step_timeout": 2}


def test_images_that_came_failed_count_when_their_job_is_accepted(desk, repository):
    desk.received("job-1", images=4, bad=(0, 2))
    desk.received("job-2", images=2, bad=(0, 1))
    other = desk.image(9, state=ImageState.FAILED, error=desk.error("empty_file", "resize"))
    repository.add_images("job-1", [other])
    assert repository.totals() == {}
    repository.accept_job("job-1")
    assert repository.totals() == {"empty_file": 1, "unsupported_type": 2}
    repository.discard_receiving("job-2")
    assert repository.totals() == {"empty_file": 1, "unsupported_type": 2}
    assert desk.check_counters().failed == 3


@pytest.mark.parametrize("code", ["", "a\0b", "x" * 500, "no code at all", "image_48112_is_odd", "done", "cancelled"])
def test_a_code_that_is_none_of_ours_counts_as_internal_and_is_kept_as_it_came(desk, repository, code):
    desk.accepted(images=1)
    event = desk.failed("job-1", 0)
    event.outcomes[0].error.code = code
    repository.apply([event])
    assert repository.totals() == {"internal": 1}
    assert repository.get_image("job-1", 0).error["code"] == code


def test_those_who_count_at_once_lose_nothing_and_wait_for_each_other_in_one_order(desk, repository, open_repository):
    def work(repository: Repository, number: int) -> None:
        mine = type(desk)(repository)
        for turn in range(10):
            job = mine.accepted(f"job-{number}-{turn}", images=8, bad=(0,))
            ends = [mine.failed(job, 1), mine.done(job, 2, 3)]
            repository.apply(ends[:: 1 if number % 2 else -1])
            repository.cancel_job(job)

    repositories = [open_repository() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, repositories, range(4)))
    assert repository.totals() == {"cancelled": 160, "done": 80, "step_timeout": 40, "unsupported_type": 40}


def test_the_leaders_last_status_is_there_for_everyone(repository, open_repository):
    assert repository.get_status() is None
    repository.put_status("the first")
    first_at, _ = repository.get_status()
    repository.put_status('{"läuft": true}' * 1_000)
    put_at, status = open_repository().get_status()
    assert status == '{"läuft": true}' * 1_000
    assert put_at >= first_at > 1.7e9


def test_a_status_is_put_and_read_of_a_database_that_is_there(repository):
    repository.close()
    for call in (lambda: repository.put_status("x"), repository.get_status, repository.totals):
        with pytest.raises(UnavailableError):
            call()

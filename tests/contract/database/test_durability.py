"""Repository contract: many threads, kill -9 at any moment, and reopening."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from penstock.common.model.errors import PenstockError, UnavailableError
from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS


def test_readers_see_consistent_counters_and_rows_during_writes(driver, repository):
    driver.accepted(images=2_000)
    writing = threading.Event()
    writing.set()

    def read() -> int:
        reads = 0
        while writing.is_set() or not reads:
            before = repository.get_job("job-1", ALL_OWNERS).done
            seen = len(repository.list_images("job-1", state=ImageState.DONE, limit=2_000))
            assert before <= seen <= repository.get_job("job-1", ALL_OWNERS).done
            reads += 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for start in range(0, 2_000, 50):
            repository.apply([driver.done("job-1", *range(start, start + 50))])
        writing.clear()
        assert all(reader.result() >= 1 for reader in readers)
    assert driver.check_counters().state is JobState.SUCCEEDED


def test_concurrent_threads_never_take_an_image_twice(driver, repository):
    driver.accepted(images=600)

    def take() -> list[int]:
        taken = []
        while images := repository.take_pending("job-1", 7):
            taken += [image.id for image in images]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [image for part in pool.map(lambda _: take(), range(4)) for image in part]
    assert sorted(taken) == list(range(600))


def test_two_threads_that_apply_equal_events_end_the_job_once(driver, repository):
    driver.accepted(images=300)
    events = [driver.done("job-1", *range(start, start + 10)) for start in range(0, 300, 10)]

    def apply(order: list) -> int:
        return sum(driver.apply_one(event).finished for event in order)

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(apply, [events, events[::-1]])) == 1
    assert driver.check_counters().done == 300


def test_a_job_can_be_created_while_another_makes_progress(driver, repository):
    driver.accepted("job-1", images=400)
    with ThreadPoolExecutor(2) as pool:
        coming = pool.submit(driver.accepted, "job-2", 20_000)
        for start in range(0, 400, 20):
            repository.take_pending("job-1", 20)
            repository.apply([driver.done("job-1", *range(start, start + 20))])
        coming.result()
    assert driver.check_counters("job-1").done == 400
    assert driver.check_counters("job-2").pending == 20_000


def test_data_is_the_same_after_reopening(driver, repository, open_repository):
    driver.received("job-0", idempotency_key="k")
    driver.ended("job-1", done=2, failed=1, labels={"a": "b"})
    before = repository.get_job("job-1", ALL_OWNERS), driver.rows("job-1")
    repository.close()
    reopened = open_repository()
    assert (reopened.get_job("job-1", ALL_OWNERS), reopened.list_images("job-1", limit=9)) == before
    assert reopened.discard_receiving() == ["job-0"]


def test_a_closed_repository_is_unavailable(driver, repository):
    driver.accepted()
    repository.check()
    repository.close()
    for call in (repository.check, lambda: repository.take_pending("job-1", 1)):
        with pytest.raises(UnavailableError) as caught:
            call()
        assert caught.value.what == "database"


CHILD = """
import itertools, sys
from penstock.common.model.messages import Event, Failure, Outcome
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS

def finished(image, run):
    failure = Failure(code="internal", message="m", step="blur", retry=True, step_index=1)
    state = "failed" if image % 3 == 0 else "done"
    outcome = Outcome(id=image, state=state, error=failure if state == "failed" else None)
    return Event(kind="finished", job="job-1", run=run, chunk="c", outcomes=[outcome])

repository = SqlRepository(sys.argv[1])
"""

WORK = """
for turn in itertools.count():
    taken = [image.id for image in repository.take_pending("job-1", 40)]
    run = repository.get_job("job-1", ALL_OWNERS).run
    repository.mark_running([Event(kind="started", job="job-1", run=run, chunk="c", images=taken[::2])])
    if turn % 5:
        repository.apply([finished(image, run) for image in taken[:30]])
    if turn % 20 == 19:
        repository.requeue_in_flight()
    if not taken:
        repository.requeue_in_flight()
        if repository.get_job("job-1", ALL_OWNERS).finished_at:
            repository.retry_job("job-1")
    print(turn, flush=True)
"""


def start_child(url: str, work: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CHILD + work, url], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("turns", [3, 21, 55])
def test_a_process_killed_during_writes_leaves_consistent_counters_and_totals(driver, repository, database_url, turns):
    driver.accepted(images=900)
    with start_child(database_url, WORK) as child:
        for _ in range(turns):
            assert child.stdout.readline()
        child.kill()
    job = driver.check_counters()
    assert job.total == 900
    assert job.done + job.failed > 0
    assert repository.totals() == +Counter(done=job.done, internal=job.failures_seen)
    repository.requeue_in_flight()
    assert not {ImageState.QUEUED, ImageState.RUNNING} & set(driver.states())
    driver.check_counters()


def test_a_retry_interrupted_by_a_kill_is_complete(driver, repository, database_url, open_repository):
    count = 20_000
    driver.accepted(images=count, failed=tuple(range(count)))
    with start_child(database_url, 'repository.retry_job("job-1", everything=True)') as child:
        driver.wait_until(lambda: repository.get_job("job-1", ALL_OWNERS).run == 1)
        child.kill()
    assert driver.check_counters().pending == count
    reopened = type(driver)(open_repository())
    assert reopened.check_counters().pending == count
    assert len(reopened.repository.take_pending("job-1", count)) == count


def test_a_deletion_interrupted_by_a_kill_is_finished_by_the_next_start(
    driver, repository, database_url, open_repository
):
    driver.accepted(images=20_000)
    repository.cancel_job("job-1")
    with start_child(database_url, 'repository.delete_job("job-1")') as child:
        driver.wait_until(lambda: repository.get_job("job-1", ALL_OWNERS) is None)
        child.kill()
    reopened = type(driver)(open_repository())
    reopened.accepted(images=2)
    assert reopened.check_counters().pending == 2
    assert [image.id for image in reopened.rows()] == [0, 1]


def test_a_job_whose_creation_was_interrupted_by_a_kill_can_be_discarded(driver, repository, database_url):
    work = """
from penstock.common.model.jobs import JobState
from penstock.coordinator.ports.repository import Image, Job, StoredPlan
repository.create_job(Job("job-1", JobState.RECEIVING, StoredPlan([]), {}, 0.0, idempotency_key="k"))
print("created", flush=True)
repository.add_images("job-1", (Image(i, f"{i}.jpg", f"{i}", "r") for i in itertools.count()))
"""
    with start_child(database_url, work) as child:
        assert child.stdout.readline()
        driver.wait_until(lambda: repository.find_by_key("k").total > 0)
        child.kill()
    assert repository.list_jobs(ALL_OWNERS, limit=9) == []
    assert repository.discard_receiving() == ["job-1"]
    assert repository.count_open_jobs() == 0


def test_a_newer_database_is_refused_and_left_as_it_is(repository, database_url):
    repository.close()
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    with pytest.raises(PenstockError, match=r"schema version 99; .* accepts up to \d+$") as caught:
        SqlRepository(database_url)
    assert caught.value.code == "newer_database"
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "0099"
    engine.dispose()


def test_a_database_that_cannot_be_opened_is_reported_as_unreachable(tmp_path):
    with pytest.raises(UnavailableError, match="unable to open"):
        SqlRepository.sqlite(tmp_path / "no-such-folder" / "penstock.db")
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(UnavailableError, match="not a database"):
        SqlRepository.sqlite(tmp_path / "notes.txt")


def test_a_database_in_memory_is_refused():
    with pytest.raises(ValueError, match="accepted is a file"):
        SqlRepository("sqlite://")

"""PostgreSQL: restarts, lost replies, deadlocks, and several processes on one database."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import psycopg
import pytest
from sqlalchemy import bindparam, make_url, select, text
from tcp_proxy import CommitLosingProxy

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.coordinator.database.backends.bulk import Among
from penstock.coordinator.database.backends.engine import MAX_ATTEMPTS, CollisionError, Database, read_url
from penstock.coordinator.database.backends.postgresql import make_engine
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.database.schema import images
from penstock.coordinator.ports.repository import ALL_OWNERS, ConflictError, ImageNotFailedError

PROCESSES = 3
IMAGES = 10_000


@pytest.fixture
def database_url(postgres) -> str:
    return postgres.create_database()


def test_calls_fail_while_the_database_is_unreachable_and_work_afterwards(driver, repository, postgres):
    driver.accepted(images=3)
    postgres.stop()
    try:
        for call in (repository.check, lambda: repository.take_pending("job-1", 1)):
            with pytest.raises(UnavailableError, match="the database is unreachable: ") as caught:
                call()
            assert caught.value.what == "database"
            assert len(caught.value.message.splitlines()) == 1
    finally:
        postgres.start()
    assert len(repository.take_pending("job-1", 1)) == 1
    assert driver.check_counters().queued == 1


def test_images_of_a_new_job_are_found_by_their_ids(driver, database_url):
    """Also by a statement that was prepared while there were few images, and before there are statistics of more."""
    statement = select(images.c.id).where(images.c.job == bindparam("number"), Among(images.c.id))
    with make_engine(read_url(database_url)).connect() as connection:
        connection.detach()  # closed at the end, instead of kept for others
        prepared = str(statement.compile(connection))
        prepared = prepared.replace("%(number)s", "$1").replace("%(ids)s", "$2")
        connection.exec_driver_sql(f"PREPARE found(integer, integer[]) AS {prepared}")
        for _ in range(10):
            connection.exec_driver_sql("EXECUTE found(1, '{1,2}')")
        driver.accepted(images=IMAGES)
        near = connection.exec_driver_sql("EXPLAIN EXECUTE found(1, '{7001,7002,7003}')").scalars().all()
        assert any("Index Cond: " in line and "id >= 7001" in line and "id <= 7003" in line for line in near), near
        connection.exec_driver_sql("ANALYZE images")
        far = connection.exec_driver_sql(f"EXPLAIN EXECUTE found(1, '{{1,{IMAGES - 1}}}')").scalars().all()
        assert any("Index Cond: " in line and "id = ANY" in line for line in far), far


def test_a_crash_of_the_server_loses_no_added_batch_of_images(driver, repository, postgres):
    driver.repository.create_job(driver.job("job-1"))
    added = []

    def images():
        for number in count():
            if number == 12_000:
                postgres.kill()
            added.append(number)
            yield driver.image(number)

    try:
        with pytest.raises(UnavailableError):
            repository.add_images("job-1", images())
    finally:
        postgres.start()
    assert repository.accept_job("job-1").total == 10_000
    assert len(added) > 10_000
    driver.check_counters()


def test_restarts_of_the_server_lose_and_repeat_no_change(driver, repository, postgres):
    driver.accepted(images=1_200)
    refusals, taken_by_turn, has_ended = Counter(), [], threading.Event()

    def insist(call, *args):
        while True:
            try:
                return call(*args)
            except UnavailableError as error:
                refusals[error.what] += 1
                has_ended.wait(0.02)

    def drive():
        while not holds_for_job(lambda job: job.finished_at):
            taken = [image.id for image in insist(repository.take_pending, "job-1", 8)]
            taken_by_turn.append(taken)
            if not taken:
                insist(repository.requeue_in_flight, "job-1")  # taken by a commit with a lost reply
            event = (driver.failed if len(taken_by_turn) % 3 == 0 else driver.done)("job-1", *taken)
            insist(repository.mark_running, [driver.started("job-1", *taken)])
            insist(repository.apply, [event])

    def holds_for_job(holds):
        return holds(insist(repository.get_job, "job-1", ALL_OWNERS))

    with ThreadPoolExecutor(1) as pool:
        driving = pool.submit(drive)
        for end in (postgres.stop, postgres.kill, postgres.stop):
            turns = len(taken_by_turn)
            driver.wait_until(lambda turns=turns: len(taken_by_turn) > turns + 5 or driving.done())
            end()
            refused = refusals["database"]
            try:
                driver.wait_until(lambda refused=refused: refusals["database"] > refused or driving.done())
            finally:
                postgres.start()
        driving.result()
    job = driver.check_counters()
    assert (job.done + job.failed, job.state) == (1_200, JobState.PARTIAL)
    assert repository.totals() == {"done": job.done, "step_timeout": job.failures_seen}
    assert refusals["database"] >= 3
    taken = Counter(image for turn in taken_by_turn for image in turn)
    assert max(taken.values()) == 1
    assert job.failures_seen == job.failed


@pytest.fixture
def losing_replies(database_url) -> Iterator[tuple[SqlRepository, CommitLosingProxy]]:
    """A repository, and a proxy that can lose the replies to its commits."""
    address = make_url(database_url)
    proxy = CommitLosingProxy(address.port)
    lost = SqlRepository(address.set(port=proxy.port, query={"sslmode": "disable", "gssencmode": "disable"}))
    yield lost, proxy
    lost.close()
    proxy.close()


def test_events_of_a_commit_with_a_lost_reply_are_applied_once(driver, repository, losing_replies):
    lossy, proxy = losing_replies
    driver.accepted(images=4)
    events = [driver.done("job-1", 0, 1), driver.failed("job-1", 2, 3)]
    with proxy.losing(), pytest.raises(UnavailableError, match="the database is unreachable"):
        lossy.apply(events)
    assert driver.check_counters().state is JobState.PARTIAL
    [again] = lossy.apply(events)
    assert (again.finished, again.job) == (False, repository.get_job("job-1", ALL_OWNERS)), (
        "a repeated event reports no second end"
    )
    assert repository.totals() == {"done": 2, "step_timeout": 2}


def test_images_taken_by_a_commit_with_a_lost_reply_are_in_flight(driver, repository, losing_replies):
    lossy, proxy = losing_replies
    driver.accepted(images=4)
    with proxy.losing(), pytest.raises(UnavailableError):
        lossy.take_pending("job-1", 3)
    ids = list(lossy.in_flight("job-1"))
    assert ids == [0, 1, 2]
    with proxy.losing(), pytest.raises(UnavailableError):
        lossy.requeue_in_flight("job-1", ids)
    assert lossy.requeue_in_flight("job-1", ids) == 0
    assert driver.check_counters().pending == 4


def test_a_job_accepted_by_a_commit_with_a_lost_reply_is_accepted_once(driver, repository, losing_replies):
    lossy, proxy = losing_replies
    driver.received(images=3, failed=(1,), idempotency_key="k")
    with proxy.losing(), pytest.raises(UnavailableError):
        lossy.accept_job("job-1")
    with pytest.raises(ConflictError):
        lossy.accept_job("job-1")
    assert lossy.discard_receiving("job-1") == []
    assert lossy.find_by_key("k").state is JobState.ACCEPTED
    assert repository.totals() == {"unsupported_type": 1}


def test_terminated_connections_are_replaced(driver, repository, postgres, database_url):
    driver.accepted()
    with postgres.connect() as admin:
        name = database_url.rpartition("/")[2]
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    assert repository.get_job("job-1", ALL_OWNERS).total == 3


def test_a_statement_fails_if_it_waits_too_long_for_a_lock(driver, repository, postgres, database_url):
    driver.accepted()
    impatient = SqlRepository(f"{database_url}?options=-c%20lock_timeout%3D100ms")
    with postgres.connect(database_url.rpartition("/")[2]) as other, other.transaction():
        other.execute("SELECT 1 FROM jobs WHERE id = 'job-1' FOR UPDATE")
        with pytest.raises(UnavailableError, match="lock timeout"):
            impatient.take_pending("job-1", 1)
        assert repository.get_job("job-1", ALL_OWNERS).pending == 3, "readers don't wait for locks"
    assert len(impatient.take_pending("job-1", 1)) == 1
    impatient.close()


def test_images_of_a_new_job_are_found_by_index_without_statistics(driver, repository, postgres, database_url):
    with postgres.connect(database_url.rpartition("/")[2]) as admin:
        admin.execute("ALTER TABLE images SET (autovacuum_enabled = off)")
        driver.accepted(images=IMAGES)
        pages = []
        while (taken := repository.take_pending("job-1", 1_000)) or repository.unpack_images("job-1"):
            pages.append([image.id for image in taken])
        assert sum(map(len, pages)) == IMAGES
        for page in filter(None, pages):
            for start in range(0, 80, 8):
                repository.mark_running([driver.started("job-1", *page[start : start + 8])])
            if page is pages[-1]:
                assert len(repository.in_flight("job-1")) == len(page)
            assert repository.requeue_in_flight("job-1", page[78:83]) == 5
            repository.apply([driver.done("job-1", *page)])
        repository.close()  # makes the server report its statistics
        [[rows_passed]] = admin.execute("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'images'")
        by_index = dict(admin.execute("SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes").fetchall())
    assert rows_passed <= 1_000, "one page at most, while the table was still small"
    assert by_index["images_by_state"] <= 10 * IMAGES
    assert by_index["images_pkey"] >= IMAGES


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.write(
        lambda connection: connection.execute(text("CREATE TABLE t AS SELECT 1 AS id, 0 AS n UNION SELECT 2, 0"))
    )
    yield database
    database.close()


def test_deadlocked_transactions_are_retried(database):
    both_began = threading.Barrier(2)
    tries = []

    def add_to(connection, first, second):
        tries.append(first)
        connection.execute(text(f"UPDATE t SET n = n + 1 WHERE id = {first}"))
        if tries.count(first) == 1:
            both_began.wait(30)
        connection.execute(text(f"UPDATE t SET n = n + 1 WHERE id = {second}"))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(database.write, add_to, 1, 2), pool.submit(database.write, add_to, 2, 1)]:
            done.result()
    assert len(tries) == 3
    assert database.read(lambda connection: connection.execute(text("SELECT n FROM t")).scalars().all()) == [2, 2]


def test_a_transaction_that_always_collides_fails_in_the_end(database):
    tries = []

    def collide(connection):
        tries.append(1)
        connection.execute(text("DO $$ BEGIN RAISE EXCEPTION 'lossy' USING ERRCODE = '40001'; END $$"))

    with pytest.raises(CollisionError, match=r"aborted because of another transaction: lossy$"):
        database.write(collide)
    assert len(tries) == MAX_ATTEMPTS


WORKER = """
import sys
from penstock.common.model.messages import Event, Outcome
from penstock.coordinator.database.repository import SqlRepository

repository, taken, ended = SqlRepository(sys.argv[1]), [], 0
while images := repository.take_pending("job-1", 7):
    ids = [image.id for image in images]
    taken += ids
    repository.mark_running([Event(kind="started", job="job-1", chunk="c", images=ids)])
    outcomes = [Outcome(id=image, state="done") for image in [*ids, *taken[-20:]]]
    event = Event(kind="finished", job="job-1", chunk="c", outcomes=outcomes)
    ended += sum(change.finished for change in repository.apply([event]))
print(ended, *taken)
"""


def test_concurrent_processes_take_and_finish_every_image_once(driver, database_url):
    driver.accepted(images=900)
    command = [sys.executable, "-c", WORKER, database_url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    told = [[int(word) for word in worker.communicate()[0].split()] for worker in workers]
    assert sorted(image for _, *taken in told for image in taken) == list(range(900))
    assert sum(ended for ended, *_ in told) == 1
    assert driver.check_counters().state is JobState.SUCCEEDED


def test_values_that_no_column_can_have_are_not_found(driver, repository):
    driver.accepted(labels={"a": "b"})
    assert repository.image_by_name("job-1", "a\0b") is repository.image_by_stem("job-1", "\0") is None
    assert repository.list_jobs(ALL_OWNERS, label=("a", "\0"), limit=9) == []
    assert repository.list_images("job-1", after=10**15 - 1, limit=9) == []
    assert repository.list_failures("job-1", after=10**15 - 1, limit=9) == []
    assert repository.get_image("job-1", 10**15) is None
    with pytest.raises(ImageNotFailedError):
        repository.retry_job(driver.ended("job-2"), [10**15])


def test_a_database_without_an_encoding_is_used_with_utf_8(driver, postgres):
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE plain TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    plain = SqlRepository(postgres.url("plain"))
    type(driver)(plain).accepted(name="Århus ▲")
    assert plain.get_job("job-1", ALL_OWNERS).name == "Århus ▲"
    plain.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_all_common_url_schemes_are_accepted(scheme):
    assert read_url(f"{scheme}://me@host/name").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["mysql://me:secret@host/name", "postgresql+psycopg2://me:secret@host/n", "secret"])
def test_a_url_of_an_unsupported_database_is_refused_without_showing_the_password(url):
    with pytest.raises(ValueError, match="accepted are sqlite:///PATH and postgresql://") as caught:
        SqlRepository(url)
    assert "secret" not in str(caught.value)


def test_a_missing_database_is_reported_as_unreachable(postgres):
    nowhere = f"postgresql://penstock:secret@127.0.0.1:{postgres.port}/nowhere"
    with pytest.raises(UnavailableError, match="nowhere") as caught:
        SqlRepository(nowhere)
    assert "secret" not in caught.value.message
    assert isinstance(caught.value.__cause__.orig, psycopg.OperationalError)

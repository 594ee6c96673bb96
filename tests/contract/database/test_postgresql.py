"""What only PostgreSQL can do to a repository: restart, hang, collide, and serve several processes at once."""

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
from sqlalchemy import make_url, text
from tcp_proxy import CommitLosingProxy

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.coordinator.database.backends.engine import MAX_ATTEMPTS, CollisionError, Database, read_url
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS, ConflictError, ImageNotFailedError

PROCESSES = 3
IMAGES = 10_000


@pytest.fixture
def database_url(postgres) -> str:
    return postgres.create_database()


def test_calls_say_that_the_database_is_away_and_work_once_it_is_back(desk, repository, postgres):
    desk.accepted(images=3)
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
    assert desk.check_counters().queued == 1


def test_a_server_that_goes_while_images_come_loses_none_that_were_said_to_be_there(desk, repository, postgres):
    desk.repository.create_job(desk.job("job-1"))
    added = []

    def images():
        for number in count():
            if number == 12_000:
                postgres.kill()
            added.append(number)
            yield desk.image(number)

    try:
        with pytest.raises(UnavailableError):
            repository.add_images("job-1", images())
    finally:
        postgres.start()
    assert repository.accept_job("job-1").total == 10_000
    assert len(added) > 10_000
    desk.check_counters()


def test_a_server_that_restarts_under_a_stream_of_changes_loses_and_doubles_nothing(desk, repository, postgres):
    desk.accepted(images=1_200)
    refusals, taken_by_turn, has_ended = Counter(), [], threading.Event()

    def insist(call, *args):
        while True:
            try:
                return call(*args)
            except UnavailableError as error:
                refusals[error.what] += 1
                has_ended.wait(0.02)

    def drive():
        while not repository_says(lambda job: job.finished_at):
            taken = [image.id for image in insist(repository.take_pending, "job-1", 8)]
            taken_by_turn.append(taken)
            if not taken:
                insist(repository.requeue_in_flight, "job-1")  # taken by a commit whose answer was lost
            event = (desk.failed if len(taken_by_turn) % 3 == 0 else desk.done)("job-1", *taken)
            insist(repository.mark_running, [desk.started("job-1", *taken)])
            insist(repository.apply, [event])

    def repository_says(holds):
        return holds(insist(repository.get_job, "job-1"))

    with ThreadPoolExecutor(1) as pool:
        driving = pool.submit(drive)
        for end in (postgres.stop, postgres.kill, postgres.stop):
            turns = len(taken_by_turn)
            desk.wait_until(lambda turns=turns: len(taken_by_turn) > turns + 5 or driving.done())
            end()
            refused = refusals["database"]
            try:
                desk.wait_until(lambda refused=refused: refusals["database"] > refused or driving.done())
            finally:
                postgres.start()
        driving.result()
    job = desk.check_counters()
    assert (job.done + job.failed, job.state) == (1_200, JobState.PARTIAL)
    assert repository.totals() == {"done": job.done, "step_timeout": job.failures_seen}
    assert refusals["database"] >= 3
    taken = Counter(image for turn in taken_by_turn for image in turn)
    assert max(taken.values()) == 1
    assert job.failures_seen == job.failed


@pytest.fixture
def losing_answers(database_url) -> Iterator[tuple[SqlRepository, CommitLosingProxy]]:
    """A repository, and what makes it lose the answers to its commits."""
    address = make_url(database_url)
    proxy = CommitLosingProxy(address.port)
    lost = SqlRepository(address.set(port=proxy.port, query={"sslmode": "disable", "gssencmode": "disable"}))
    yield lost, proxy
    lost.close()
    proxy.close()


def test_a_commit_whose_answer_is_lost_has_happened_and_happens_once(desk, repository, losing_answers):
    unlucky, proxy = losing_answers
    desk.accepted(images=4)
    events = [desk.done("job-1", 0, 1), desk.failed("job-1", 2, 3)]
    with proxy.losing(), pytest.raises(UnavailableError, match="the database is unreachable"):
        unlucky.apply(events)
    assert desk.check_counters().state is JobState.PARTIAL
    [again] = unlucky.apply(events)
    assert (again.finished, again.job) == (False, repository.get_job("job-1", ALL_OWNERS)), (
        "who asks again hears of no end"
    )
    assert repository.totals() == {"done": 2, "step_timeout": 2}


def test_a_take_whose_answer_is_lost_is_found_in_flight_and_given_back(desk, repository, losing_answers):
    unlucky, proxy = losing_answers
    desk.accepted(images=4)
    with proxy.losing(), pytest.raises(UnavailableError):
        unlucky.take_pending("job-1", 3)
    ids = [image.id for image in unlucky.in_flight("job-1", 9)]
    assert ids == [0, 1, 2]
    with proxy.losing(), pytest.raises(UnavailableError):
        unlucky.requeue_in_flight("job-1", ids)
    assert unlucky.requeue_in_flight("job-1", ids) == 0
    assert desk.check_counters().pending == 4


def test_an_acceptance_whose_answer_is_lost_has_happened_and_counted_what_came_failed(desk, repository, losing_answers):
    unlucky, proxy = losing_answers
    desk.received(images=3, bad=(1,), idempotency_key="k")
    with proxy.losing(), pytest.raises(UnavailableError):
        unlucky.accept_job("job-1")
    with pytest.raises(ConflictError):
        unlucky.accept_job("job-1")
    assert unlucky.discard_receiving("job-1") == []
    assert unlucky.find_by_key("k").state is JobState.ACCEPTED
    assert repository.totals() == {"unsupported_type": 1}


def test_connections_cut_by_somebody_else_are_replaced_unseen(desk, repository, postgres, database_url):
    desk.accepted()
    with postgres.connect() as admin:
        name = database_url.rpartition("/")[2]
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    assert repository.get_job("job-1", ALL_OWNERS).total == 3


def test_a_statement_that_waits_too_long_for_a_row_is_given_up(desk, repository, postgres, database_url):
    desk.accepted()
    impatient = SqlRepository(f"{database_url}?options=-c%20lock_timeout%3D100ms")
    with postgres.connect(database_url.rpartition("/")[2]) as other, other.transaction():
        other.execute("SELECT 1 FROM jobs WHERE id = 'job-1' FOR UPDATE")
        with pytest.raises(UnavailableError, match="lock timeout"):
            impatient.take_pending("job-1", 1)
        assert repository.get_job("job-1", ALL_OWNERS).pending == 3, "readers don't wait"
    assert len(impatient.take_pending("job-1", 1)) == 1
    impatient.close()


def test_images_of_a_job_that_nobody_has_counted_yet_are_found_by_their_keys(desk, repository, postgres, database_url):
    with postgres.connect(database_url.rpartition("/")[2]) as admin:
        admin.execute("ALTER TABLE images SET (autovacuum_enabled = off)")
        desk.accepted(images=IMAGES)
        pages = []
        while taken := [image.id for image in repository.take_pending("job-1", 1_000)]:
            pages.append(taken)
        for page in pages:
            for start in range(0, 80, 8):
                repository.mark_running([desk.started("job-1", *page[start : start + 8])])
            assert len(repository.in_flight("job-1", 100)) == 100
            assert repository.requeue_in_flight("job-1", page[78:83]) == 5
            repository.apply([desk.done("job-1", *page)])
        repository.close()  # which makes the server count what it did
        [[rows_passed]] = admin.execute("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'images'")
        by_index = dict(admin.execute("SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes").fetchall())
    assert rows_passed <= 1_000, "a page at most, while the table was small enough for it"
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


def test_transactions_that_lock_each_other_out_are_tried_again(database):
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


def test_a_collision_that_repeats_itself_is_told_in_the_end(database):
    tries = []

    def collide(connection):
        tries.append(1)
        connection.execute(text("DO $$ BEGIN RAISE EXCEPTION 'unlucky' USING ERRCODE = '40001'; END $$"))

    with pytest.raises(CollisionError, match=r"in the way: unlucky$"):
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


def test_processes_that_take_and_apply_at_once_share_a_job_without_losing_or_doubling_an_image(desk, database_url):
    desk.accepted(images=900)
    command = [sys.executable, "-c", WORKER, database_url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    told = [[int(word) for word in worker.communicate()[0].split()] for worker in workers]
    assert sorted(image for _, *taken in told for image in taken) == list(range(900))
    assert sum(ended for ended, *_ in told) == 1
    assert desk.check_counters().state is JobState.SUCCEEDED


def test_what_no_column_of_the_database_can_hold_is_not_found(desk, repository):
    desk.accepted(labels={"a": "b"})
    assert repository.image_by_name("job-1", "a\0b") is repository.image_by_stem("job-1", "\0") is None
    assert repository.list_jobs(ALL_OWNERS, label=("a", "\0"), limit=9) == []
    assert repository.list_images("job-1", after=10**15 - 1, limit=9) == []
    assert repository.list_failures("job-1", after=10**15 - 1, limit=9) == []
    assert repository.get_image("job-1", 10**15) is None
    with pytest.raises(ImageNotFailedError):
        repository.retry_job(desk.ended("job-2"), [10**15])


def test_a_database_without_an_encoding_of_its_own_is_spoken_to_in_utf_8(desk, postgres):
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE plain TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    plain = SqlRepository(postgres.url("plain"))
    type(desk)(plain).accepted(name="Århus ▲")
    assert plain.get_job("job-1", ALL_OWNERS).name == "Århus ▲"
    plain.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_url_is_understood_in_the_ways_in_which_people_write_it(scheme):
    assert read_url(f"{scheme}://me@host/name").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["mysql://me:secret@host/name", "postgresql+psycopg2://me:secret@host/n", "secret"])
def test_a_url_of_no_known_database_is_refused_without_its_password(url):
    with pytest.raises(ValueError, match="accepted are sqlite:///PATH and postgresql://") as caught:
        SqlRepository(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_to_be_away(postgres):
    nowhere = f"postgresql://penstock:secret@127.0.0.1:{postgres.port}/nowhere"
    with pytest.raises(UnavailableError, match="nowhere") as caught:
        SqlRepository(nowhere)
    assert "secret" not in caught.value.message
    assert isinstance(caught.value.__cause__.orig, psycopg.OperationalError)

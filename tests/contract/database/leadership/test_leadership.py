"""Leadership: one coordinator at a time, replaced soon after a failure, and fenced off afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from postgres_server import PostgresServer

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.coordinator.database.backends.advisory_lock import PostgresLeadership
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.leadership import AlwaysLeader
from penstock.coordinator.ports.repository import Job, StoredPlan

TAKEOVER_SECS = 30  # the promise is 10 s; a busy machine may be late

CANDIDATE = r'''
import sys, time
from penstock.coordinator.database.backends.advisory_lock import PostgresLeadership
leadership = PostgresLeadership(sys.argv[1])


def say(line):
    """Write a line at once: two threads of this process write, and print writes the end of a line by itself."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


leadership.on_lost(lambda: say("lost"))
say("trying")
while not leadership.acquire(1.0):
    pass
say(f"leading {leadership.term}")
while leadership.is_leader():
    time.sleep(0.01)
say("no longer leading")
sys.stdin.read()
'''


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A database with its tables."""
    url = postgres.create_database()
    SqlRepository(url).close()
    return url


@pytest.fixture
def start(url: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that tries to become the leader."""
    started: list[subprocess.Popen[str]] = []

    def start_one() -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CANDIDATE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        assert line_of(started[-1]) == "trying"
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def candidate(url: str) -> Iterator[Callable[[], PostgresLeadership]]:
    """Creates a candidate in this process."""
    made: list[PostgresLeadership] = []

    def make_one() -> PostgresLeadership:
        made.append(PostgresLeadership(url))
        return made[-1]

    yield make_one
    for leadership in made:
        leadership.release()


def line_of(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip()


def wait_for_line(process: subprocess.Popen[str]) -> tuple[str, float]:
    """Return the next line of a process, and the seconds until then."""
    began = time.monotonic()
    line = line_of(process)
    return line, time.monotonic() - began


def test_a_killed_leader_is_replaced_in_a_later_term(start):
    leader = start()
    assert line_of(leader) == "leading 1"
    follower = start()
    leader.kill()
    line, secs = wait_for_line(follower)
    assert line == "leading 2"
    assert secs < TAKEOVER_SECS


def test_a_paused_leader_is_replaced_and_knows_it_when_it_resumes(start):
    leader, follower = start(), None
    assert line_of(leader) == "leading 1"
    follower = start()
    os.kill(leader.pid, signal.SIGSTOP)
    line, secs = wait_for_line(follower)
    assert line == "leading 2"
    assert secs < TAKEOVER_SECS
    os.kill(leader.pid, signal.SIGCONT)
    assert {line_of(leader), line_of(leader)} == {"no longer leading", "lost"}
    assert follower.poll() is None


def test_one_of_many_candidates_leads_until_it_releases_leadership(candidate):
    candidates = [candidate() for _ in range(4)]
    assert [each.acquire(0.0) for each in candidates] == [True, False, False, False]
    assert [each.is_leader() for each in candidates] == [True, False, False, False]
    assert candidates[0].acquire(0.0), "the leader may call acquire again"
    candidates[0].release()
    assert not candidates[0].is_leader()
    assert candidates[3].acquire(TAKEOVER_SECS)
    assert candidates[3].term == candidates[0].term + 1
    assert not candidates[0].acquire(0.1), "released for good"


def test_a_release_ends_the_wait_for_leadership(candidate):
    leader, follower = candidate(), candidate()
    assert leader.acquire(0.0)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(follower.acquire(600)))
    waiting.start()
    follower.release()
    waiting.join(TAKEOVER_SECS)
    assert answers == [False]


def test_a_leader_whose_server_restarts_is_notified_and_may_lead_again(candidate, postgres):
    leader, lost = candidate(), threading.Event()
    leader.on_lost(lost.set)
    assert leader.acquire(0.0)
    first = leader.term
    postgres.stop()
    try:
        assert lost.wait(TAKEOVER_SECS)
        assert not leader.is_leader()
        assert not leader.acquire(0.1), "there is no leader while the database is unreachable"
    finally:
        postgres.start()
    assert leader.acquire(TAKEOVER_SECS)
    assert leader.term == first + 1


def test_writes_of_an_earlier_leader_are_refused(candidate, url):
    repository = SqlRepository(url)
    leader = candidate()
    assert leader.acquire(0.0)
    repository.lead(leader.term)
    assert repository.take_pending("job", 1) == []
    repository.put_status("in time")
    leader.release()
    assert candidate().acquire(TAKEOVER_SECS)
    for call in (
        lambda: repository.take_pending("job", 1),
        repository.requeue_in_flight,
        lambda: repository.requeue_in_flight("job", [0]),
        lambda: repository.put_status("too late"),
        lambda: repository.create_dispatched(Job("new", JobState.RECEIVING, StoredPlan([]), {}, created_at=0.0), []),
    ):
        with pytest.raises(UnavailableError, match="another coordinator leads, in term 2; this one led in 1"):
            call()
    assert repository.get_status()[1] == "in time"
    repository.lead(None)
    assert repository.requeue_in_flight() == 0
    repository.close()


def test_the_only_coordinator_always_leads():
    leadership = AlwaysLeader()
    leadership.on_lost(lambda: pytest.fail("it cannot be lost"))
    assert (leadership.acquire(0.0), leadership.is_leader(), leadership.term) == (True, True, None)
    leadership.release()

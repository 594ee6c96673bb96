"""Liveness: a file stays fresh while every promise is kept, and says why it does not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.worker import liveness
from penstock.worker.liveness import Liveness
from penstock.worker.process.probe import FRESH_SECS, is_fresh


class Worker:
    """What a liveness knows of its worker, and its clock."""

    def __init__(self, file: Path) -> None:
        self.now = 1_000.0
        self.deadline: float | None = None
        self.ready = 0
        self.away = False
        self.liveness = Liveness(file, lambda: self.deadline, self.count)

    def count(self) -> int:
        if self.away:
            raise UnavailableError("broker", "away")
        return self.ready


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alive"


@pytest.fixture
def worker(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(liveness, "_WRITE_SECS", 0.01)
    worker = Worker(file)
    yield worker
    worker.liveness.close()


@pytest.fixture
def clock(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """The worker, with a clock that the test moves."""
    worker.liveness.close()
    worker.liveness._reached_at = worker.now
    monkeypatch.setattr("penstock.worker.liveness.time.monotonic", lambda: worker.now)
    return worker


def test_the_file_is_written_while_promises_are_kept_and_then_no_more(worker: Worker, file: Path) -> None:
    worker.liveness.promise("the loop", 60)
    wait_until(lambda: is_fresh(file))
    worker.liveness.promise("the loop", -1)
    wait_until(lambda: worker.liveness.find_trouble() is not None)
    time.sleep(0.05)
    os.utime(file, (0, 0))
    time.sleep(0.1)
    assert not is_fresh(file)
    worker.liveness.promise("the loop", 60)
    wait_until(lambda: is_fresh(file))


def test_the_file_tells_who_is_busy_and_goes_with_its_worker(worker: Worker, file: Path) -> None:
    wait_until(lambda: is_fresh(file) and file.read_text() == "idle")
    worker.deadline = time.monotonic() + 60
    wait_until(lambda: file.read_text() == "busy")
    worker.liveness.close()
    assert not file.exists()
    worker.liveness.close()


def test_a_file_that_is_missing_or_old_is_not_fresh(file: Path) -> None:
    assert not is_fresh(file)
    file.touch()
    assert is_fresh(file)
    old = time.time() - FRESH_SECS - 1
    os.utime(file, (old, old))
    assert not is_fresh(file)


def test_a_thread_that_does_not_come_back_is_named(clock: Worker) -> None:
    clock.liveness.promise("the loop", 15)
    clock.liveness.promise("the intake", 10)
    clock.now += 9
    assert clock.liveness.find_trouble() is None
    clock.now += 2
    assert clock.liveness.find_trouble() == "the intake has not come back"


def test_a_step_may_take_as_long_as_its_limit_and_no_longer(clock: Worker) -> None:
    clock.liveness.promise("the loop", 15)
    clock.deadline = clock.now + 60
    clock.now += 59
    assert clock.liveness.find_trouble() is None
    clock.now += 2
    assert clock.liveness.find_trouble() == "the loop has not come back"


def test_a_broker_may_be_away_for_a_while_but_not_for_ever(clock: Worker) -> None:
    clock.away = True
    clock.now += liveness.AWAY_SECS - 1
    clock.liveness.ask_broker()
    assert clock.liveness.find_trouble() is None
    clock.now += 2
    assert clock.liveness.find_trouble() == "no broker for 300 s"
    clock.away = False
    clock.liveness.ask_broker()
    assert clock.liveness.find_trouble() is None


def test_messages_that_wait_while_none_comes_are_trouble_after_several_looks(clock: Worker) -> None:
    clock.ready = 3
    for _ in range(liveness.MAX_STALLS):
        assert clock.liveness.find_trouble() is None
        clock.liveness.ask_broker()
    assert clock.liveness.find_trouble() == "messages wait, and none of them comes here"
    clock.liveness.note_taken()
    clock.liveness.ask_broker()
    assert clock.liveness.find_trouble() is None


def test_messages_that_wait_while_a_step_runs_are_no_trouble(clock: Worker) -> None:
    clock.ready, clock.deadline = 3, clock.now + 60
    for _ in range(2 * liveness.MAX_STALLS):
        clock.liveness.ask_broker()
    assert clock.liveness.find_trouble() is None

"""Liveness: a file stays fresh while the worker is healthy, and the log says why it does not."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_clock import FakeClock
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.worker import liveness
from penstock.worker.liveness import Liveness
from penstock.worker.process.probe import FRESH_SECS, is_fresh, is_ready


class MonitoredWorker:
    """What a liveness check knows about its worker."""

    def __init__(self, file: Path) -> None:
        self.clock = FakeClock()
        self.deadline: float | None = None
        self.ready = 0
        self.unreachable = False
        self.liveness = Liveness(file, lambda: self.deadline, self.count, write_secs=0.01, clock=self.clock)

    def count(self) -> int:
        if self.unreachable:
            raise UnavailableError("broker", "unreachable")
        return self.ready


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alive"


@pytest.fixture
def worker(file: Path) -> Iterator[MonitoredWorker]:
    worker = MonitoredWorker(file)
    yield worker
    worker.liveness.close()


def test_the_file_is_written_only_while_deadlines_are_met(
    worker: MonitoredWorker, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker.liveness.set_deadline("the consumer loop", 60)
    wait_until(lambda: is_fresh(file))
    with caplog.at_level(logging.ERROR):
        worker.clock.now += 61
        wait_until(lambda: "worker stalled: the consumer loop missed its deadline" in caplog.text)
    os.utime(file, (0, 0))
    worker.clock.wait_for_reads(5)
    assert not is_fresh(file)
    worker.liveness.set_deadline("the consumer loop", 60)
    wait_until(lambda: is_fresh(file))


def test_the_file_says_whether_the_worker_is_busy_and_is_removed_at_the_end(
    worker: MonitoredWorker, file: Path
) -> None:
    wait_until(lambda: is_fresh(file) and file.read_text() == "idle")
    worker.deadline = worker.clock.now + 60
    wait_until(lambda: file.read_text() == "busy")
    worker.liveness.close()
    assert not file.exists()
    worker.liveness.close()


def test_a_worker_is_not_ready_while_its_broker_does_not_answer(worker: MonitoredWorker, file: Path) -> None:
    wait_until(lambda: is_ready(file))
    worker.unreachable = True
    worker.liveness.ask_broker()
    wait_until(lambda: file.read_text() == "idle\naway")
    assert (is_fresh(file), is_ready(file)) == (True, False)
    worker.unreachable = False
    worker.liveness.ask_broker()
    wait_until(lambda: is_ready(file))


def test_a_probe_never_reads_half_a_state(worker: MonitoredWorker, file: Path) -> None:
    worker.unreachable = True
    worker.liveness.ask_broker()
    wait_until(lambda: file.exists() and file.read_text() == "idle\naway")
    assert {file.read_text() for _ in range(2_000)} == {"idle\naway"}


def test_a_missing_or_old_file_is_not_fresh(file: Path) -> None:
    assert not is_fresh(file)
    file.touch()
    assert is_fresh(file)
    old = time.time() - FRESH_SECS - 1
    os.utime(file, (old, old))
    assert not is_fresh(file)


def test_a_thread_that_misses_its_deadline_is_named(worker: MonitoredWorker) -> None:
    worker.liveness.set_deadline("the consumer loop", 15)
    worker.liveness.set_deadline("the inbox", 10)
    worker.clock.now += 9
    assert worker.liveness.find_problem() is None
    worker.clock.now += 2
    assert worker.liveness.find_problem() == "the inbox missed its deadline"


def test_a_step_may_take_its_time_limit_and_no_longer(worker: MonitoredWorker) -> None:
    worker.liveness.set_deadline("the consumer loop", 15)
    worker.deadline = worker.clock.now + 60
    worker.clock.now += 59
    assert worker.liveness.find_problem() is None
    worker.clock.now += 2
    assert worker.liveness.find_problem() == "the consumer loop missed its deadline"


def test_the_broker_may_be_unreachable_for_five_minutes(worker: MonitoredWorker) -> None:
    worker.unreachable = True
    worker.clock.now += liveness.UNREACHABLE_SECS - 1
    worker.liveness.ask_broker()
    assert worker.liveness.find_problem() is None
    worker.clock.now += 2
    assert worker.liveness.find_problem() == "broker unreachable for 300 s"
    worker.unreachable = False
    worker.liveness.ask_broker()
    assert worker.liveness.find_problem() is None


def test_ready_messages_that_are_not_delivered_are_a_problem_after_several_checks(worker: MonitoredWorker) -> None:
    worker.ready = 3
    for _ in range(liveness.MAX_STALLS):
        assert worker.liveness.find_problem() is None
        worker.liveness.ask_broker()
    assert worker.liveness.find_problem() == "messages are ready, but none is delivered"
    worker.liveness.count_delivery()
    worker.liveness.ask_broker()
    assert worker.liveness.find_problem() is None


def test_ready_messages_are_no_problem_while_a_step_runs(worker: MonitoredWorker) -> None:
    worker.ready, worker.deadline = 3, worker.clock.now + 60
    for _ in range(2 * liveness.MAX_STALLS):
        worker.liveness.ask_broker()
    assert worker.liveness.find_problem() is None

"""The clock of a step: it rings once for what takes too long, and never for what has ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from penstock.worker.watchdog import Watchdog


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Watchdog, threading.Event]]]:
    monkeypatch.setattr("penstock.worker.watchdog._POLL_SECS", 0.01)
    made: list[Watchdog] = []

    def start(limit_secs: float) -> tuple[Watchdog, threading.Event]:
        rung = threading.Event()
        made.append(Watchdog(limit_secs, rung.set))
        return made[-1], rung

    yield start
    for watchdog in made:
        watchdog.end()
        watchdog.close()


def test_it_rings_for_what_takes_too_long(watch: Callable[..., tuple[Watchdog, threading.Event]]) -> None:
    watchdog, rung = watch(0.05)
    watchdog.begin()
    assert rung.wait(10)


def test_it_is_silent_while_nothing_is_begun_or_everything_ended(
    watch: Callable[..., tuple[Watchdog, threading.Event]],
) -> None:
    watchdog, rung = watch(0.05)
    assert not rung.wait(0.15)
    watchdog.begin()
    watchdog.end()
    assert not rung.wait(0.15)


def test_what_begins_anew_has_its_whole_time(watch: Callable[..., tuple[Watchdog, threading.Event]]) -> None:
    watchdog, rung = watch(0.4)
    for _ in range(5):
        watchdog.begin()
        time.sleep(0.1)
    assert not rung.is_set()


def test_what_ends_while_the_guard_is_held_is_spared(watch: Callable[..., tuple[Watchdog, threading.Event]]) -> None:
    watchdog, rung = watch(0.02)
    with watchdog.guard:
        watchdog.begin()
        time.sleep(0.1)
        watchdog.end()
    assert not rung.wait(0.1)


def test_it_is_silent_for_what_somebody_else_ends_and_tells_until_when(
    watch: Callable[..., tuple[Watchdog, threading.Event]],
) -> None:
    watchdog, rung = watch(0.02)
    watchdog.begin()
    watchdog.trust(0.03)
    assert watchdog.deadline is not None
    assert not rung.wait(0.2)
    watchdog.begin()
    assert rung.wait(10)


STOPPABLE = """
import threading
from penstock.worker.watchdog import Watchdog
rung = threading.Event()
watchdog = Watchdog(3.0, rung.set)
watchdog.begin()
print("begun", flush=True)
input()
print("rung" if rung.wait(0.6) else "silent", flush=True)
print("rung" if rung.wait(60) else "silent", flush=True)
"""


def test_time_for_which_the_process_stood_still_does_not_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPPABLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "silent\n"
        assert process.stdout.readline() == "rung\n"

"""Watchdog: calls back once for work that exceeds its limit, and never for work that has ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from fake_clock import FakeClock

from penstock.worker.watchdog import StepLimits, Watchdog

LIMITS = StepLimits(cpu_secs=0.1, wall_secs=0.5)
SECS = 30.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fired() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watchdog(clock: FakeClock, fired: threading.Event) -> Iterator[Watchdog]:
    watchdog = Watchdog(LIMITS, lambda _: fired.set(), poll_secs=0.01, clock=clock, cpu_clock=lambda: 0.0)
    yield watchdog
    watchdog.close()


def test_it_fires_for_work_that_exceeds_its_limit(watchdog: Watchdog, clock: FakeClock, fired: threading.Event) -> None:
    with watchdog.limit():
        clock.wait_for_reads(3)
        assert not fired.is_set()
        clock.now += 0.6
        assert fired.wait(SECS)


def test_it_is_silent_while_no_work_runs(watchdog: Watchdog, clock: FakeClock, fired: threading.Event) -> None:
    with watchdog.limit():
        pass
    clock.now += 0.6
    clock.wait_for_reads(5)
    assert not fired.is_set()
    assert watchdog.deadline is None


def test_every_piece_of_work_has_the_whole_limit(watchdog: Watchdog, clock: FakeClock, fired: threading.Event) -> None:
    for _ in range(5):
        with watchdog.limit():
            clock.now += 0.4
            clock.wait_for_reads(3)
    assert not fired.is_set()


def test_cpu_time_that_a_step_has_spent_before_counts(clock: FakeClock, fired: threading.Event) -> None:
    watchdog = Watchdog(LIMITS, lambda _: fired.set(), poll_secs=0.01, clock=clock, cpu_clock=lambda: 0.0)
    with watchdog.limit(spent_cpu_secs=0.09):
        clock.wait_for_reads(3)
    assert not fired.is_set()
    with watchdog.limit(spent_cpu_secs=0.11):
        assert fired.wait(SECS)
    watchdog.close()


def test_work_cannot_end_while_its_timeout_is_handled(clock: FakeClock) -> None:
    handling, handled = threading.Event(), threading.Event()

    def handle(_: str) -> None:
        handling.set()
        handled.wait(SECS)

    watchdog = Watchdog(LIMITS, handle, poll_secs=0.01, clock=clock)

    def work() -> None:
        with watchdog.limit():
            clock.now += 0.6
            handling.wait(SECS)

    worker = threading.Thread(target=work)
    worker.start()
    assert handling.wait(SECS)
    worker.join(0.05)
    assert worker.is_alive()
    handled.set()
    worker.join(SECS)
    assert not worker.is_alive()
    watchdog.close()


def test_it_is_silent_for_work_that_something_else_ends_but_has_its_deadline(
    watchdog: Watchdog, clock: FakeClock, fired: threading.Event
) -> None:
    with watchdog.limit(enforced_elsewhere_secs=0.7):
        assert watchdog.deadline == clock.now + 0.7
        clock.now += 0.9
        clock.wait_for_reads(5)
    assert not fired.is_set()
    with watchdog.limit():
        clock.now += 0.6
        assert fired.wait(SECS)


def test_time_while_the_process_was_suspended_does_not_count(
    watchdog: Watchdog, clock: FakeClock, fired: threading.Event
) -> None:
    with watchdog.limit():
        clock.wait_for_reads(3)
        clock.now += 4.0  # between two polls
        clock.wait_for_reads(5)
        assert not fired.is_set()
        clock.now += 0.6
        assert fired.wait(SECS)


@pytest.mark.parametrize(
    ("wall_secs", "cpu_secs", "reason"),
    [
        (0.4, 0.09, None),
        (0.4, 0.11, "the step took longer than 0.1 s of CPU time (PENSTOCK_STEP_TIMEOUT_SECS)"),
        (0.6, 0.01, "the step took longer than 0.5 s (PENSTOCK_STEP_WALL_SECS)"),
    ],
    ids=["slow for want of CPU", "busy", "waiting"],
)
def test_a_step_may_use_its_cpu_time_and_may_wait_much_longer_than_that(
    clock: FakeClock, wall_secs: float, cpu_secs: float, reason: str | None
) -> None:
    cpu, reasons = FakeClock(), list[str]()
    watchdog = Watchdog(LIMITS, reasons.append, poll_secs=0.01, clock=clock, cpu_clock=cpu)
    with watchdog.limit():
        clock.wait_for_reads(3)
        cpu.now += cpu_secs
        clock.now += wall_secs
        clock.wait_for_reads(8)
    watchdog.close()
    assert reasons[:1] == ([] if reason is None else [reason])


def test_long_work_is_ended_if_it_is_cancelled_even_where_something_else_limits_it(clock: FakeClock) -> None:
    cancelled, ended = threading.Event(), threading.Event()
    watchdog = Watchdog(
        StepLimits(60.0, 600.0),
        lambda reason: None,
        poll_secs=0.01,
        clock=clock,
        is_cancelled=cancelled.is_set,
        on_cancel=ended.set,
        lookup_secs=0.4,
        patience_secs=0.9,
    )
    with watchdog.limit(enforced_elsewhere_secs=300.0):
        cancelled.set()
        clock.now += 0.8
        clock.wait_for_reads(8)
        assert not ended.is_set(), "short work ends by itself"
        clock.now += 0.2
        assert ended.wait(SECS)
    ended.clear()
    cancelled.clear()
    with watchdog.limit():
        clock.now += 0.9
        clock.wait_for_reads(8)
        assert not ended.is_set()
    watchdog.close()

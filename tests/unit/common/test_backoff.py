"""Backoff: delays grow, are jittered and capped, and end early when stopped."""

from __future__ import annotations

from threading import Event

from penstock.common.backoff import Backoff


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(first_secs=0.5, max_secs=3.0, jitter=0)
    assert [backoff.next_secs() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_delays_grow_by_the_factor() -> None:
    assert Backoff(first_secs=1.0, max_secs=10.0, factor=1.5, jitter=0).delay_secs(2) == 2.25


def test_each_delay_is_shortened_by_at_most_the_jitter() -> None:
    backoff = Backoff(first_secs=4.0, max_secs=4.0, jitter=0.25)
    delays = [backoff.next_secs() for _ in range(100)]
    assert all(3.0 <= delay <= 4.0 for delay in delays)
    assert len(set(delays)) > 1


def test_after_a_reset_the_delays_start_small_again() -> None:
    backoff = Backoff(first_secs=1.0, max_secs=8.0, jitter=0)
    backoff.next_secs()
    backoff.next_secs()
    backoff.reset()
    assert backoff.next_secs() == 1.0


def test_any_number_of_retries_stays_at_the_longest_delay() -> None:
    assert Backoff(first_secs=1.0, max_secs=8.0, jitter=0).delay_secs(1_000_000) == 8.0


def test_waiting_ends_at_once_when_stopped() -> None:
    stopping = Event()
    backoff = Backoff(first_secs=0.001, max_secs=3_600.0, factor=1_000_000_000, jitter=0)
    assert not backoff.wait(stopping)
    stopping.set()
    assert backoff.wait(stopping)

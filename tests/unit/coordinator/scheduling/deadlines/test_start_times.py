"""Start times: from when more replicas are desired until the first of them is ready."""

from __future__ import annotations

from fake_clock import FakeClock

from penstock.coordinator.scheduling.deadlines.start_times import StartTimes
from penstock.coordinator.scheduling.replicas import Replicas


def test_a_start_is_timed_until_a_replica_more_is_ready() -> None:
    clock = FakeClock()
    times = StartTimes(clock)

    def observe(desired: int, ready: int, after_secs: float) -> float | None:
        clock.now += after_secs
        times.observe({"blur": Replicas(desired, ready)})
        return times.secs("blur")

    assert observe(1, 1, 0) is None, "what was there at first was not timed"
    assert observe(3, 1, 5) is None
    clock.now += 3
    assert (times.starting_secs("blur"), times.starting_secs("split")) == (3, 0)
    clock.now -= 3
    assert observe(3, 2, 20) == 20
    assert observe(3, 3, 50) == 20, "the second one of the same start"
    assert observe(0, 0, 50) == 20
    assert observe(1, 0, 50) == 20
    assert observe(0, 0, 50) == 20, "it was given up"
    assert observe(1, 0, 50) == 20
    assert observe(1, 1, 90) == 90, "the slowest counts"

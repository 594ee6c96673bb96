"""A clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable

from waiting import wait_until


class FakeClock:
    """Call it for the time in seconds. `reads` counts the calls."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now

    def wait_for_reads(self, count: int, done: Callable[[], object] = lambda: False) -> None:
        """Wait until another thread has read the clock so often, or something is done."""
        target = self.reads + count
        wait_until(lambda: self.reads >= target or done())

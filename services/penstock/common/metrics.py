"""Counting without a metrics library: what workers count rides along in their events, and the coordinator shows it.

So a worker needs no port and no library more, and what it counted is shown whether or not it still lives.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Calls, Measures

CALL_BOUNDS_SECS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CALLS = {
    "store": ("put", "get", "stream", "size", "delete", "delete_prefix"),
    "broker": ("publish", "depth", "declare"),
}
"""What is timed of each port. `publish` lasts until the broker has confirmed, whoever waits for that."""

T = TypeVar("T")
P = ParamSpec("P")


class Histogram:
    """How many values were up to each bound, and their sum. Whoever shares it between threads holds a lock."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, buckets: Sequence[int], total: float) -> None:
        """Count what somebody else counted by the same bounds."""
        self.buckets = [here + there for here, there in zip(self.buckets, buckets, strict=True)]
        self.sum += total


class CallCounters:
    """What one process counts. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, Histogram] = {}
        self._failed: Counter[str] = Counter()
        self._chunks: Counter[str] = Counter()
        self._redelivered: Counter[str] = Counter()

    def count_call(self, what: str, seconds: float, *, failed: bool = False) -> None:
        """Count a call, such as `store.get`."""
        with self._lock:
            if what not in self._calls:
                self._calls[what] = Histogram(CALL_BOUNDS_SECS)
            self._calls[what].observe(seconds)
            self._failed[what] += failed

    def count_chunk(self, step: str, *, redelivered: bool) -> None:
        """Count a chunk that was taken from a step's queue."""
        with self._lock:
            self._chunks[step] += 1
            if redelivered:
                self._redelivered[step] += 1

    def read(self) -> Measures:
        """Return all that was counted."""
        with self._lock:
            return self._measures()

    def take(self) -> Measures:
        """Return what was counted since the last time."""
        with self._lock:
            measures = self._measures()
            for counted in (self._calls, self._failed, self._chunks, self._redelivered):
                counted.clear()
            return measures

    def _measures(self) -> Measures:
        calls = [
            Calls(what=what, buckets=list(each.buckets), seconds=each.sum, failed=self._failed[what])
            for what, each in self._calls.items()
        ]
        return Measures(calls=calls, chunks=dict(self._chunks), redelivered=dict(self._redelivered))


def measure(port: T, name: str, tally: CallCounters) -> T:
    """Return a store or a broker whose calls (`CALLS[name]`) are counted; it is in all else the one that is given."""
    return cast(T, _Measured(port, name, tally))


class _Measured:
    def __init__(self, port: object, name: str, tally: CallCounters) -> None:
        self._port = port
        for call in CALLS[name]:
            setattr(self, call, _timed(getattr(port, call), f"{name}.{call}", tally))
        if name == "broker":
            self.publish_then = _timed_until_confirmed(getattr(port, "publish_then"), tally)  # noqa: B009 (typed as Any)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _timed(call: Callable[P, T], what: str, tally: CallCounters) -> Callable[P, T]:
    def timed(*args: P.args, **kwargs: P.kwargs) -> T:
        began = time.perf_counter()
        failed = False
        try:
            return call(*args, **kwargs)
        except UnavailableError:
            failed = True
            raise
        finally:
            tally.count_call(what, time.perf_counter() - began, failed=failed)

    return timed


Then = Callable[[UnavailableError | None], None]


def _timed_until_confirmed(
    call: Callable[[Sequence[tuple[str, bytes]], Then], None], tally: CallCounters
) -> Callable[[Sequence[tuple[str, bytes]], Then], None]:
    def timed(messages: Sequence[tuple[str, bytes]], then: Then) -> None:
        began = time.perf_counter()

        def settled(error: UnavailableError | None) -> None:
            tally.count_call("broker.publish", time.perf_counter() - began, failed=error is not None)
            then(error)

        call(messages, settled)

    return timed

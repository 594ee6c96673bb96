"""Counters and histograms without a metrics library.

Workers send what they count along with their events, and the coordinator exposes it. So workers need neither a port nor
another library, and the counts of a worker outlive it.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Calls, Measures

CALL_BOUNDS_SECS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STORE_CALLS = ("put", "get", "stream", "size", "delete", "delete_prefix")
_BROKER_CALLS = ("publish", "depth", "declare")
CALLS = frozenset([f"store.{call}" for call in _STORE_CALLS] + [f"broker.{call}" for call in _BROKER_CALLS])
"""The calls that are timed. `publish` lasts until the broker has confirmed, whether or not the caller waits for it."""


class Histogram:
    """How many values were up to each bound, and their sum. Not thread-safe."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, buckets: Sequence[int], total: float) -> None:
        """Add the counts of another histogram with the same bounds."""
        self.buckets = [here + there for here, there in zip(self.buckets, buckets, strict=True)]
        self.sum += total


class _TimedCall:
    """The context of one call; a generator would take three times as long, and there are ten calls for an image."""

    __slots__ = ("_began", "_call", "_counters")

    def __init__(self, counters: "CallCounters", call: str) -> None:
        self._counters = counters
        self._call = call

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        secs = time.perf_counter() - self._began
        self._counters.count_call(self._call, secs, failed=isinstance(error, UnavailableError))


class CallCounters:
    """What one process counts: calls of store and broker, and chunks. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._calls: dict[str, Histogram] = {}
        self._failed: Counter[str] = Counter()
        self._chunks: Counter[str] = Counter()
        self._redelivered: Counter[str] = Counter()
        self._waited: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))

    def time(self, call: str) -> "_TimedCall":
        """Count what is done in this context as one call, such as `store.get`; an UnavailableError is a failed one."""
        return _TimedCall(self, call)

    def time_until_called(
        self, call: str, callback: Callable[[UnavailableError | None], None]
    ) -> Callable[[UnavailableError | None], None]:
        """Return `callback`, which also counts a call that begins now and ends when it is called, with its error."""
        began = time.perf_counter()

        def count(error: UnavailableError | None) -> None:
            self.count_call(call, time.perf_counter() - began, failed=error is not None)
            callback(error)

        return count

    def count_call(self, call: str, seconds: float, *, failed: bool = False) -> None:
        with self._lock:
            if call not in self._calls:
                self._calls[call] = Histogram(CALL_BOUNDS_SECS)
            self._calls[call].observe(seconds)
            self._failed[call] += failed

    def count_chunk(self, step: str, *, redelivered: bool) -> None:
        """Count a chunk that was taken from a step's queue."""
        with self._lock:
            self._chunks[step] += 1
            if redelivered:
                self._redelivered[step] += 1

    def count_wait(self, steps: Iterable[str], what: str, seconds: float) -> None:
        """Count seconds in which a process that serves some steps waited for a dependency that could not be used."""
        with self._lock:
            for step in steps:
                self._waited[step][what] += seconds

    def read(self) -> Measures:
        """Return all counts."""
        with self._lock:
            calls = [
                Calls(what=call, buckets=list(histogram.buckets), seconds=histogram.sum, failed=self._failed[call])
                for call, histogram in self._calls.items()
            ]
            return Measures(
                calls=calls,
                chunks=dict(self._chunks),
                redelivered=dict(self._redelivered),
                waited={step: dict(seconds) for step, seconds in self._waited.items()},
            )

    def take(self) -> Measures:
        """Return all counts and begin again at zero."""
        with self._lock:
            measures = self.read()
            for counts in (self._calls, self._failed, self._chunks, self._redelivered, self._waited):
                counts.clear()
            return measures

"""Start times: how long new replicas of each step take until they are ready, as seen in the counts of replicas."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

_KEPT = 5


class _Counts(Protocol):
    @property
    def desired(self) -> int: ...

    @property
    def ready(self) -> int: ...


class StartTimes:
    """Measures from when more replicas are desired until the first of them is ready. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[int, int]] = {}
        """By step, the replicas that were desired and ready when last seen."""
        self._starting: dict[str, tuple[float, int]] = {}
        """By step, since when replicas are starting, and how many were ready then."""
        self._secs: dict[str, deque[float]] = {}

    def observe(self, replicas: Mapping[str, _Counts]) -> None:
        """Note how many replicas each step has now."""
        now = self._clock()
        for step, counts in replicas.items():
            desired, _ = self._seen.get(step, (counts.desired, counts.ready))
            if counts.desired > desired and step not in self._starting:
                self._starting[step] = now, self._seen[step][1]
            if step in self._starting:
                since, ready = self._starting[step]
                if counts.ready > ready:
                    self._secs.setdefault(step, deque(maxlen=_KEPT)).append(now - since)
                if counts.ready > ready or counts.desired <= ready:
                    del self._starting[step]
            self._seen[step] = counts.desired, counts.ready

    def secs(self, step: str) -> float | None:
        """Return the seconds of the slowest of the last starts; None before any was seen."""
        return max(self._secs[step]) if step in self._secs else None

    def starting_secs(self, step: str) -> float:
        """Return for how many seconds replicas of a step have been starting; 0 if none are."""
        return self._clock() - self._starting[step][0] if step in self._starting else 0.0

"""Worker counts: how many workers serve each step, by the consumers of its queue."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from penstock.common.broker.base import Broker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import step_queue

_CACHE_SECS = 2.0


class WorkerCounts:
    """Workers by step, read at most every two seconds. A worker that serves several steps counts for each of them."""

    def __init__(self, broker: Broker, at_least: int = 1) -> None:
        self._broker = broker
        self._at_least = at_least
        self._cache: dict[str, tuple[float, int]] = {}

    def count(self, step: str) -> int:
        """Return the workers of a step, `at_least` being the minimum.

        Raises:
            UnavailableError: the broker is unreachable.
        """
        expires_at, consumers = self._cache.get(step, (0.0, 0))
        now = time.monotonic()
        if now >= expires_at:
            consumers = self._broker.depth(step_queue(step)).consumers
            self._cache[step] = (now + _CACHE_SECS, consumers)
        return max(self._at_least, consumers)


class LastKnownWorkerCounts:
    """Workers by step for requests, which must not wait for an unreachable broker. May be used from any thread."""

    def __init__(self, broker: Broker) -> None:
        self._counts = WorkerCounts(broker, at_least=0)
        self._reading = threading.Lock()
        self._last: dict[str, int] = {}

    def count(self, step: str) -> int:
        """Return the workers of a step as last known. One thread at a time asks the broker; others don't wait."""
        if self._reading.acquire(blocking=False):
            try:
                with suppress(UnavailableError):
                    self._last[step] = self._counts.count(step)
            finally:
                self._reading.release()
        return self._last.get(step, 0)

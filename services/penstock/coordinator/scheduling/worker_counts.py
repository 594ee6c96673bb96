"""Worker counts: how many workers serve each step, by the consumers of its queue."""

import threading
import time
from contextlib import suppress

from penstock.common.broker.base import Broker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import step_queue

_CACHE_SECS = 2.0


class WorkerCounts:
    """Workers by step, read at most every two seconds. A worker that serves several steps counts for each of them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reading = threading.Lock()
        self._cache: dict[str, tuple[float, int]] = {}

    def count(self, step: str) -> int:
        """Return the workers of a step.

        Raises:
            UnavailableError: the broker is unreachable.
        """
        expires_at, count = self._cache.get(step, (0.0, 0))
        now = time.monotonic()
        if now >= expires_at:
            count = self._broker.depth(step_queue(step)).consumers
            self._cache[step] = (now + _CACHE_SECS, count)
        return count

    def last_known(self, step: str) -> int:
        """Return the workers of a step, for requests: only one thread at a time waits for an unreachable broker."""
        if self._reading.acquire(blocking=False):
            try:
                with suppress(UnavailableError):
                    return self.count(step)
            finally:
                self._reading.release()
        return self._cache.get(step, (0.0, 0))[1]

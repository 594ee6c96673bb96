"""How many workers there are, as the queues tell by who consumes from them."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from penstock.common.broker.base import Broker, QueueDepth
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import step_queue

_HOLD_SECS = 2.0


class WorkerCounts:
    """Workers by step, `at_least` of them for each. A worker that serves several steps counts for each of them."""

    def __init__(self, broker: Broker, at_least: int = 1) -> None:
        self._broker = broker
        self._at_least = at_least
        self._seen: dict[str, tuple[float, QueueDepth]] = {}

    def workers(self, step: str) -> int:
        """Return how many serve a step, looked up at most every other second.

        Raises:
            UnavailableError: the broker is away.
        """
        return max(self._at_least, self._depth(step).consumers)

    def _depth(self, step: str) -> QueueDepth:
        until, depth = self._seen.get(step, (0.0, QueueDepth(0, 0)))
        now = time.monotonic()
        if now >= until:
            depth = self._broker.depth(step_queue(step))
            self._seen[step] = (now + _HOLD_SECS, depth)
        return depth


class WorkerCounter:
    """Workers by step for those who cannot wait: as seen last, where the broker does not answer. From any thread."""

    def __init__(self, broker: Broker) -> None:
        self._fleet = WorkerCounts(broker, at_least=0)
        self._asking = threading.Lock()
        self._seen: dict[str, int] = {}

    def workers(self, step: str) -> int:
        """Return how many serve a step; one thread at most waits for a broker that is away."""
        if self._asking.acquire(blocking=False):
            try:
                with suppress(UnavailableError):
                    self._seen[step] = self._fleet.workers(step)
            finally:
                self._asking.release()
        return self._seen.get(step, 0)

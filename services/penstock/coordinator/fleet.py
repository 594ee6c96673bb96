"""How many workers there are, as the queues tell by who consumes from them."""

from __future__ import annotations

import time

from penstock.common.broker.port import Broker, QueueDepth
from penstock.common.messages import step_queue

_HOLD_SECS = 2.0


class Fleet:
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

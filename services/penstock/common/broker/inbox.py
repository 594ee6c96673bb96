"""Inbox: the deliveries that wait for a consumer's `get`."""

import threading
from collections import deque

from penstock.common.broker.base import Delivery


class Inbox:
    """Passes deliveries from the broker's thread to the thread that consumes.

    With a `limit`, at most that many deliveries are out at a time: returned by `get` and not yet settled.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._changed = threading.Condition(threading.RLock())  # a signal handler may call wake during a get
        self._waiting: deque[Delivery | None] = deque()
        self._taken: set[int] = set()
        self._closed = False

    def put(self, delivery: Delivery) -> None:
        """Add a delivery. A closed inbox drops it."""
        with self._changed:
            if not self._closed:
                self._waiting.append(delivery)
                self._changed.notify()

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        """Return the next delivery; None after `timeout_secs`, when woken, or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_next(), timeout_secs)
            if self._closed or not self._has_next():
                return None
            delivery = self._waiting.popleft()
            if self._limit is not None and delivery is not None:
                self._taken.add(delivery.tag)
            return delivery

    def wake(self) -> None:
        """Make a waiting `get`, or else the next one, return None."""
        with self._changed:
            self._waiting.appendleft(None)
            self._changed.notify()

    def settle(self, delivery: Delivery) -> None:
        """Stop counting a delivery towards the limit."""
        with self._changed:
            self._taken.discard(delivery.tag)
            self._changed.notify()

    def clear(self) -> None:
        """Drop all deliveries, including those that `get` has returned."""
        with self._changed:
            self._waiting = deque(delivery for delivery in self._waiting if delivery is None)
            self._taken.clear()

    def close(self) -> None:
        """Drop all deliveries; every `get` returns None from now on."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _has_next(self) -> bool:
        if not self._waiting:
            return False
        return self._waiting[0] is None or self._limit is None or len(self._taken) < self._limit

"""How chunks come to a worker: one by one when it is ready for them, or taken and read ahead by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from penstock.common.broker.base import Consumer, Delivery
from penstock.worker.chunk_task import ChunkTask

_IDLE_SECS = 5.0
_GRACE_SECS = 10.0

Open = Callable[[Delivery], ChunkTask]
Promise = Callable[[str, float], None]
"""Says who will be back within how many seconds."""


@dataclass(frozen=True)
class Order:
    """A delivery and what opens it: returns the work, or raises what keeps it from being any."""

    delivery: Delivery
    open: Callable[[], ChunkTask]


class Inbox:
    """Takes deliveries when asked to."""

    def __init__(self, consumer: Consumer, open_work: Open, promise: Promise) -> None:
        self._consumer = consumer
        self._open_work = open_work
        self._promise = promise

    def get(self, timeout_secs: float) -> Order | None:
        """Return the next order, or None after a while or when told to wake."""
        self._promise("the loop", timeout_secs + _GRACE_SECS)
        delivery = self._consumer.get(timeout_secs)
        return None if delivery is None else Order(delivery, partial(self._open_work, delivery))

    def wake(self) -> None:
        """Let `get` return at once. May be called from a signal handler."""
        self._consumer.wake()

    def close(self) -> None:
        """Take no more."""


class PrefetchingInbox:
    """Takes and opens deliveries on a thread, as many as the consumer gives: its prefetch is the bound."""

    def __init__(self, consumer: Consumer, open_work: Open, promise: Promise) -> None:
        self._consumer = consumer
        self._open_work = open_work
        self._promise = promise
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def get(self, timeout_secs: float) -> Order | None:
        """Return the next order, or None after a while or when told to wake."""
        self._promise("the loop", timeout_secs + _GRACE_SECS)
        try:
            return self._orders.get(timeout=timeout_secs)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Let `get` return at once. May be called from a signal handler."""
        self._orders.put(None)

    def close(self) -> None:
        """Take no more; what was taken and not asked for is left to the consumer's end."""
        self._closing.set()
        self._consumer.wake()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._promise("the intake", _IDLE_SECS + _GRACE_SECS)
            delivery = self._consumer.get(_IDLE_SECS)
            if delivery is not None:
                self._orders.put(Order(delivery, self._opened(delivery).result))

    def _opened(self, delivery: Delivery) -> Future[ChunkTask]:
        opened: Future[ChunkTask] = Future()
        try:
            opened.set_result(self._open_work(delivery))
        except Exception as error:
            opened.set_exception(error)
        return opened

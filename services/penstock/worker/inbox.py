"""Inbox: receives chunks from the broker, when asked or one ahead."""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from penstock.common.broker.base import Consumer, Delivery
from penstock.worker.chunk_task import ChunkTask

_POLL_SECS = 5.0
_GRACE_SECS = 10.0


class Inbox:
    """Makes a task of each delivery. With `prefetch`, a thread receives the next one and starts to read its input.

    `set_deadline` tells the liveness check within how many seconds a thread will be back.
    """

    def __init__(
        self,
        consumer: Consumer,
        make_task: Callable[[Delivery], ChunkTask],
        set_deadline: Callable[[str, float], None],
        *,
        prefetch: bool,
    ) -> None:
        self._consumer = consumer
        self._make_task = make_task
        self._set_deadline = set_deadline
        self._stopped = False
        self._prefetcher = ThreadPoolExecutor(1, "inbox") if prefetch else None
        self._next: Future[ChunkTask | None] | None = None

    def get(self, timeout_secs: float) -> ChunkTask | None:
        """Return the next task, or None after a while or once `stop` was called."""
        self._set_deadline("the consumer loop", timeout_secs + _GRACE_SECS)
        if self._prefetcher is None:
            return self._receive(timeout_secs)
        if self._next is None:
            self._next = self._prefetcher.submit(self._prefetch)
        try:
            task = self._next.result(timeout_secs)
        except TimeoutError:
            return None
        self._next = self._prefetcher.submit(self._prefetch)
        return task

    def stop(self) -> None:
        """Let `get` return at once. May be called from a signal handler."""
        self._stopped = True
        self._consumer.wake()

    def close(self) -> None:
        """Receive no more; a task that was not asked for is left to the consumer, which requeues it when closed."""
        self.stop()
        if self._prefetcher is not None:
            self._prefetcher.shutdown(cancel_futures=True)
        if self._next is not None and not self._next.cancelled() and (task := self._next.result()) is not None:
            task.release()
        self._next = None

    def _receive(self, timeout_secs: float) -> ChunkTask | None:
        delivery = self._consumer.get(timeout_secs)
        return None if delivery is None else self._make_task(delivery)

    def _prefetch(self) -> ChunkTask | None:
        task = None
        while task is None and not self._stopped:
            self._set_deadline("the inbox", _POLL_SECS + _GRACE_SECS)
            task = self._receive(_POLL_SECS)
        if task is not None:
            task.prefetch()
        self._set_deadline("the inbox", math.inf)  # until it is asked for the next one
        return task

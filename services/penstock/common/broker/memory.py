"""Memory broker: queues in this process, for `penstock run` and `penstock serve`."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import count

from penstock.common.broker.base import ConfirmCallback, Delivery, QueueDepth
from penstock.common.broker.inbox import Inbox
from penstock.common.metrics import CallCounters
from penstock.common.model.messages import DEAD_LETTER_QUEUE, write_dead_letter


@dataclass
class _Message:
    body: bytes
    attempt: int = 1


@dataclass
class _Queue:
    ready: deque[_Message] = field(default_factory=deque)
    in_flight: int = 0
    consumers: "deque[MemoryConsumer]" = field(default_factory=deque)


_NO_QUEUE = _Queue()


class MemoryBroker:
    """All queues behind one lock. Messages are small and operations on them take microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._tags = count(1)
        self._counters = CallCounters()

    def counted_by(self, counters: CallCounters) -> "MemoryBroker":
        """Return a view of this broker, on the same queues, whose calls are counted by `counters`."""
        view = copy(self)
        view._counters = counters
        return view

    def declare(self, queues: Sequence[str]) -> None:
        with self._counters.time("broker.declare"), self._lock:
            for queue in queues:
                self._queues.setdefault(queue, _Queue())

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:  # noqa: ARG002 (nothing to wait for)
        with self._counters.time("broker.publish"):
            self._add(queue, bodies)

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        on_confirm = self._counters.time_until_called("broker.publish", on_confirm)
        for queue, body in messages:
            self._add(queue, [body])
        on_confirm(None)

    def consume(
        self, queues: Sequence[str], prefetch: int, deliver: Callable[[Delivery], None] | None = None
    ) -> "MemoryConsumer":
        """See the port. `deliver` is called with each delivery instead of keeping it for `get`, under a lock."""
        consumer = MemoryConsumer(self, queues, prefetch, deliver)
        with self._lock:
            for queue in queues:
                self._queues[queue].consumers.append(consumer)
            for queue in queues:
                self._deliver(queue)
        return consumer

    def check(self) -> None:
        """See the port. Queues in memory always take messages."""

    def depth(self, queue: str) -> QueueDepth:
        with self._counters.time("broker.depth"), self._lock:
            found = self._queues.get(queue, _NO_QUEUE)
            return QueueDepth(len(found.ready), found.in_flight, len(found.consumers))

    def close(self) -> None:
        with self._lock:
            consumers = {consumer for queue in self._queues.values() for consumer in queue.consumers}
        for consumer in consumers:
            consumer.close()

    def _add(self, queue: str, bodies: Sequence[bytes]) -> None:
        with self._lock:
            self._queues[queue].ready.extend(_Message(body) for body in bodies)
            self._deliver(queue)

    def _deliver(self, name: str) -> None:
        """Deliver ready messages, in turn, to consumers below their prefetch. Called with the lock held."""
        queue = self._queues[name]
        full = 0
        while queue.ready and full < len(queue.consumers):
            consumer = queue.consumers[0]
            queue.consumers.rotate(-1)
            if len(consumer.held) >= consumer.prefetch:
                full += 1
                continue
            full = 0
            message = queue.ready.popleft()
            delivery = Delivery(name, message.body, message.attempt, next(self._tags))
            consumer.held[delivery.tag] = delivery
            queue.in_flight += 1
            consumer.deliver(delivery)

    def _settle(self, consumer: "MemoryConsumer", tag: int, *, requeue: bool) -> Delivery | None:
        """End a delivery and return it; None if it was settled before. Called without the lock."""
        with self._lock:
            delivery = consumer.held.pop(tag, None)
            if delivery is None:
                return None
            queue = self._queues[delivery.queue]
            queue.in_flight -= 1
            if requeue:
                queue.ready.appendleft(_Message(delivery.body, delivery.attempt))
            for name in consumer.queues:
                self._deliver(name)
            return delivery

    def _remove(self, consumer: "MemoryConsumer", *, lost: bool) -> None:
        """Remove a consumer and requeue what it held, in order of delivery."""
        with self._lock:
            for name in consumer.queues:
                consumers = self._queues[name].consumers
                if consumer in consumers:
                    consumers.remove(consumer)
            held = list(consumer.held.values())
            consumer.held.clear()
            for delivery in reversed(held):
                queue = self._queues[delivery.queue]
                queue.in_flight -= 1
                queue.ready.appendleft(_Message(delivery.body, delivery.attempt + lost))
            for name in consumer.queues:
                self._deliver(name)


class MemoryConsumer:
    """A consumer in the broker's own process."""

    def __init__(
        self, broker: MemoryBroker, queues: Sequence[str], prefetch: int, deliver: Callable[[Delivery], None] | None
    ) -> None:
        self.queues = tuple(queues)
        self.prefetch = prefetch
        self.held: dict[int, Delivery] = {}
        self._broker = broker
        self._inbox = Inbox()
        self.deliver = deliver or self._inbox.put

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        return self._inbox.get(timeout_secs)

    def wake(self) -> None:
        self._inbox.wake()

    def ack(self, delivery: Delivery) -> None:
        self._broker._settle(self, delivery.tag, requeue=False)

    def nack(self, delivery: Delivery) -> None:
        self._broker._settle(self, delivery.tag, requeue=True)

    def reject(self, delivery: Delivery, reason: str) -> None:
        rejected = self._broker._settle(self, delivery.tag, requeue=False)
        if rejected is not None:
            self._broker.declare([DEAD_LETTER_QUEUE])
            self._broker.publish(DEAD_LETTER_QUEUE, [write_dead_letter(rejected.queue, rejected.body, reason)])

    def close(self, *, lost: bool = False) -> None:
        """See the port. With `lost`, as if its process had died: the attempts of what it held are raised."""
        self._inbox.close()
        self._broker._remove(self, lost=lost)

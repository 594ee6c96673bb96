"""Queues in this process's memory: what `penstock run` and `penstock serve` stand on."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from penstock.common.broker.base import Delivery, QueueDepth
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import DEAD_LETTER_QUEUE


@dataclass
class _Message:
    body: bytes
    attempt: int = 1


@dataclass
class _Queue:
    ready: deque[_Message] = field(default_factory=deque)
    in_flight: int = 0
    consumers: deque[MemoryConsumer] = field(default_factory=deque)


class MemoryBroker:
    """All queues behind one lock. Messages are small and operations on them take microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._tags = count(1)

    def declare(self, queues: Sequence[str]) -> None:
        with self._lock:
            for queue in queues:
                self._queues.setdefault(queue, _Queue())

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:  # noqa: ARG002 (at once anyway)
        with self._lock:
            self._queues[queue].ready.extend(_Message(body) for body in bodies)
            self._feed(queue)

    def publish_then(
        self, messages: Sequence[tuple[str, bytes]], then: Callable[[UnavailableError | None], None]
    ) -> None:
        for name, body in messages:
            self.publish(name, [body])
        then(None)

    def consume(self, queues: Sequence[str], prefetch: int) -> MemoryConsumer:
        return self.subscribe(queues, prefetch, MemoryConsumer)

    def subscribe(
        self, queues: Sequence[str], prefetch: int, kind: Callable[[MemoryBroker, Sequence[str], int], MemoryConsumer]
    ) -> MemoryConsumer:
        """Start consuming with a consumer of another kind, such as one that hands deliveries to another process."""
        consumer = kind(self, queues, prefetch)
        with self._lock:
            for queue in queues:
                self._queues[queue].consumers.append(consumer)
            for queue in queues:
                self._feed(queue)
        return consumer

    def depth(self, queue: str) -> QueueDepth:
        with self._lock:
            found = self._queues[queue]
            return QueueDepth(len(found.ready), found.in_flight, len(found.consumers))

    def purge(self, queue: str) -> int:
        with self._lock:
            ready = self._queues[queue].ready
            dropped = len(ready)
            ready.clear()
            return dropped

    def close(self) -> None:
        with self._lock:
            consumers = {consumer for queue in self._queues.values() for consumer in queue.consumers}
        for consumer in consumers:
            consumer.close()

    def _feed(self, name: str) -> None:
        """Hand ready messages to consumers that have room, in turn. Called with the lock held."""
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

    def _settle(self, consumer: MemoryConsumer, tag: int, *, put_back: bool) -> Delivery | None:
        """End a delivery and return it; None where it has ended already. Called without the lock."""
        with self._lock:
            delivery = consumer.held.pop(tag, None)
            if delivery is None:
                return None
            queue = self._queues[delivery.queue]
            queue.in_flight -= 1
            if put_back:
                queue.ready.appendleft(_Message(delivery.body, delivery.attempt))
            for name in consumer.queues:
                self._feed(name)
            return delivery

    def _release(self, consumer: MemoryConsumer, *, lost: bool) -> None:
        """Take a consumer away and give back what it held, in the order it was delivered."""
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
                self._feed(name)


class MemoryConsumer:
    """A consumer in the broker's own process."""

    def __init__(self, broker: MemoryBroker, queues: Sequence[str], prefetch: int) -> None:
        self.queues = tuple(queues)
        self.prefetch = prefetch
        self.held: dict[int, Delivery] = {}
        self._broker = broker
        self._inbox: deque[Delivery | None] = deque()
        self._arrived = threading.Condition(threading.RLock())  # a signal handler may call wake amid a get
        self._closed = False

    def deliver(self, delivery: Delivery) -> None:
        """Take a message from the broker, which holds its lock meanwhile."""
        with self._arrived:
            self._inbox.append(delivery)
            self._arrived.notify()

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        deadline = None if timeout_secs is None else time.monotonic() + timeout_secs
        with self._arrived:
            while not self._closed:
                if self._inbox:
                    return self._inbox.popleft()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._arrived.wait(left)
            return None

    def wake(self) -> None:
        with self._arrived:
            self._inbox.appendleft(None)
            self._arrived.notify()

    def ack(self, delivery: Delivery) -> None:
        self._broker._settle(self, delivery.tag, put_back=False)

    def nack(self, delivery: Delivery) -> None:
        self._broker._settle(self, delivery.tag, put_back=True)

    def reject(self, delivery: Delivery, reason: str) -> None:
        rejected = self._broker._settle(self, delivery.tag, put_back=False)
        if rejected is not None:
            self._broker.declare([DEAD_LETTER_QUEUE])
            self._broker.publish(DEAD_LETTER_QUEUE, [dead_letter(rejected, reason)])

    def close(self) -> None:
        self._end(lost=False)

    def lose(self) -> None:
        """End as a consumer whose process has died: what it held goes back with attempts raised."""
        self._end(lost=True)

    def _end(self, *, lost: bool) -> None:
        with self._arrived:
            self._closed = True
            self._inbox.clear()
            self._arrived.notify_all()
        self._broker._release(self, lost=lost)


def dead_letter(delivery: Delivery, reason: str) -> bytes:
    """Return the dead-letter queue's message for a delivery that cannot be read."""
    return json.dumps(
        {"queue": delivery.queue, "reason": reason, "body": delivery.body.decode("utf-8", "backslashreplace")}
    ).encode()

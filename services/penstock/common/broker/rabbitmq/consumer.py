"""What comes in: one channel for each consumer, answers sent in groups by the link's thread.

Tags given to callers are numbers of this process, never used twice, and known only while the channel that a delivery
came on lives. So an answer to a delivery of a lost connection finds nothing, and is ignored: RabbitMQ has given the
message to somebody else meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, takewhile
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from penstock.common.broker.base import Delivery
from penstock.common.broker.rabbitmq.channel import REBUILD_SECS, ChannelListener, declare
from penstock.common.broker.rabbitmq.connection import Connection
from penstock.common.broker.rabbitmq.publisher import RETURNS
from penstock.common.model.errors import UnavailableError

_TAGS = count(1)
_LEAVE_SECS = 5.0
_MAX_RETURNS = 10
"""RabbitMQ 4 drops what comes back more than 20 times, unless a policy says otherwise. Half of that leaves room for a
consumer that dies over and over before it can do anything about it."""


class RabbitConsumer(ChannelListener):
    """Messages from some queues. `bury` takes a delivery and a reason to the dead letters; `republish` sends a copy
    and tells, from another thread, whether RabbitMQ has it.

    RabbitMQ counts `prefetch` for each queue (it has no other count on quorum queues); `get` hands out no more than
    that over all of them, so a consumer of several queues has some more ready at hand.
    """

    def __init__(
        self,
        link: Connection,
        queues: Sequence[str],
        prefetch: int,
        bury: Callable[[Delivery, str], None],
        republish: Callable[[Delivery, Callable[[bool], None]], None],
    ) -> None:
        super().__init__(link)
        self._queues = tuple(queues)
        self._prefetch = prefetch
        self._bury = bury
        self._republish = republish
        self._arrived = threading.Condition(threading.RLock())  # a signal handler may call wake amid a get
        self._inbox: deque[Delivery | None] = deque()
        self._held: dict[int, tuple[Delivery, int]] = {}
        self._handed: set[int] = set()
        self._answers: list[tuple[int, bool]] = []
        self._closed = False
        self._unanswered: dict[int, None] = {}
        self._consumer_tags: dict[str, str] = {}
        self._gone = threading.Event()
        link.add(self)

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        deadline = None if timeout_secs is None else time.monotonic() + timeout_secs
        with self._arrived:
            while not self._closed:
                if self._inbox and (self._inbox[0] is None or len(self._handed) < self._prefetch):
                    return self._hand_out()
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
        self._answer(delivery, done=True)

    def nack(self, delivery: Delivery) -> None:
        self._answer(delivery, done=False)

    def reject(self, delivery: Delivery, reason: str) -> None:
        with self._arrived:
            if delivery.tag not in self._held:
                return
        self._bury(delivery, reason)
        self._answer(delivery, done=True)

    def close(self) -> None:
        with self._arrived:
            if self._closed:
                return
            self._closed = True
            self._forget()
            self._arrived.notify_all()
        self._link.run_soon(self._leave)
        self._gone.wait(_LEAVE_SECS)

    def in_flight(self, queue: str) -> int:
        """Count a queue's messages that this consumer holds."""
        with self._arrived:
            return sum(delivery.queue == queue for delivery, _ in self._held.values())

    def _hand_out(self) -> Delivery | None:
        delivery = self._inbox.popleft()
        if delivery is not None:
            self._handed.add(delivery.tag)
        return delivery

    def _answer(self, delivery: Delivery, *, done: bool) -> None:
        with self._arrived:
            held = self._held.pop(delivery.tag, None)
            if held is None:
                return
            self._handed.discard(delivery.tag)
            self._arrived.notify()
            self._answers.append((held[1], done))
            first = len(self._answers) == 1
        if first:
            self._link.run_soon(self._send_answers)

    def _forget(self) -> None:
        """Drop what came and was not answered. Called with the lock held."""
        self._held.clear()
        self._handed.clear()
        self._inbox = deque(each for each in self._inbox if each is None)

    # From here on: the link's thread.

    def begin(self, channel: Channel) -> None:
        channel.add_on_cancel_callback(self._cancelled)
        channel.basic_qos(prefetch_count=self._prefetch)
        for queue in self._queues:
            self._consume(channel, queue)

    def end(self) -> None:
        with self._arrived:
            self._forget()
            self._answers.clear()
        self._unanswered.clear()
        self._consumer_tags.clear()
        if self._left:
            self._gone.set()

    def _consume(self, channel: Channel, queue: str) -> None:
        declare(channel, queue, lambda _: self._subscribe(channel, queue))

    def _subscribe(self, channel: Channel, queue: str) -> None:
        if channel.is_open and not self._left:
            tag = channel.basic_consume(queue, partial(self._deliver, queue))
            self._consumer_tags[tag] = queue

    def _cancelled(self, frame: Any) -> None:
        """Consume again after the queue was deleted, or moved to another node."""
        queue = self._consumer_tags.pop(frame.method.consumer_tag, None)
        channel = self._channel
        if queue is not None and channel is not None and not self._left:
            self.soon(channel, REBUILD_SECS, lambda: self._consume(channel, queue))

    def _deliver(
        self, queue: str, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self._unanswered[method.delivery_tag] = None
        headers = properties.headers or {}
        returns = int(headers.get("x-delivery-count", 0))
        attempt = 1 + returns + int(headers.get(RETURNS, 0))
        delivery = Delivery(queue, body, attempt, next(_TAGS))
        if returns >= _MAX_RETURNS:
            self._renew(channel, method.delivery_tag, delivery)
            return
        with self._arrived:
            if self._closed:
                return  # given back with everything else
            self._held[delivery.tag] = (delivery, method.delivery_tag)
            self._inbox.append(delivery)
            self._arrived.notify()

    def _renew(self, channel: Channel, tag: int, delivery: Delivery) -> None:
        """Have a copy take a message's place, again and again until it does, or the message is somebody else's."""

        def take_away(confirmed: bool) -> None:
            if channel.is_open and channel is self._channel:
                self._send_acks(channel, {tag}) if confirmed else self._renew(channel, tag, delivery)

        def hear(confirmed: bool) -> None:
            with suppress(UnavailableError):  # closed meanwhile, and the message given back
                self._link.run_soon(lambda: take_away(confirmed))

        if not self._left:
            self._republish(delivery, hear)

    def _send_answers(self) -> None:
        with self._arrived:
            answers, self._answers = self._answers, []
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        for tag, done in answers:
            if not done:
                channel.basic_nack(tag, requeue=True)
                del self._unanswered[tag]
        self._send_acks(channel, {tag for tag, done in answers if done})

    def _send_acks(self, channel: Channel, tags: set[int]) -> None:
        """Acknowledge with one frame as many as come first of all that are unanswered, the others one by one."""
        together = list(takewhile(tags.__contains__, self._unanswered))
        if together:
            channel.basic_ack(together[-1], multiple=True)
        for tag in tags.difference(together):
            channel.basic_ack(tag)
        for tag in tags:
            del self._unanswered[tag]

    def _leave(self) -> None:
        """Stop deliveries, then give back what is held, in that order: or some would be delivered here once more."""
        self._left = True
        self._link.remove(self)
        self._send_answers()
        if self._channel is None or not self._channel.is_open:
            self._gone.set()
            return
        tags = list(self._consumer_tags)
        for tag in tags:
            self._channel.basic_cancel(tag, self._stopped)
        if not tags:
            self._give_back(self._channel)

    def _stopped(self, frame: Any) -> None:
        self._consumer_tags.pop(frame.method.consumer_tag, None)
        if not self._consumer_tags and self._channel is not None and self._channel.is_open:
            self._give_back(self._channel)

    def _give_back(self, channel: Channel) -> None:
        if self._unanswered:
            channel.basic_nack(0, multiple=True, requeue=True)
        channel.close()

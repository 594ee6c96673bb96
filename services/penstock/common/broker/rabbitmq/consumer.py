"""Consumer: one channel for each; acknowledgements are sent in groups by the connection's thread.

The tags that callers see are numbers of this process, never used twice, and known only while the channel of their
delivery is open. So settling a delivery of a lost connection has no effect: RabbitMQ has requeued the message.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, takewhile
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from penstock.common.broker.base import Delivery
from penstock.common.broker.inbox import Inbox
from penstock.common.broker.rabbitmq.channel import REDECLARE_SECS, ChannelListener, declare
from penstock.common.broker.rabbitmq.connection import Connection
from penstock.common.broker.rabbitmq.publisher import RETURNS_HEADER
from penstock.common.model.errors import UnavailableError

_TAGS = count(1)
_CLOSE_SECS = 5.0
_MAX_RETURNS = 10
"""RabbitMQ 4 drops a message that returns more than 20 times, unless a policy says otherwise. Half of that leaves room
for consumers that die again and again before they can replace the message."""


class RabbitConsumer(ChannelListener):
    """Messages from some queues.

    `dead_letter` publishes a delivery with a reason to the dead-letter queue. `republish` publishes a copy of a
    delivery and calls back, in another thread, with whether it was confirmed.

    On quorum queues RabbitMQ applies `prefetch` to each queue; `get` applies it to all of them together. So a consumer
    of several queues holds more messages than it gives out.
    """

    def __init__(
        self,
        connection: Connection,
        queues: Sequence[str],
        prefetch: int,
        dead_letter: Callable[[Delivery, str], None],
        republish: Callable[[Delivery, Callable[[bool], None]], None],
    ) -> None:
        super().__init__(connection)
        self._queues = tuple(queues)
        self._prefetch = prefetch
        self._dead_letter = dead_letter
        self._republish = republish
        self._lock = threading.Lock()
        self._inbox = Inbox(prefetch)
        self._held: dict[int, tuple[Delivery, int]] = {}
        self._settled: list[tuple[int, bool]] = []
        self._closed = False
        # For the connection's thread: RabbitMQ's tags of unacknowledged deliveries, in order, and of subscriptions.
        self._unacknowledged: dict[int, None] = {}
        self._subscriptions: dict[str, str] = {}
        self._stopped = threading.Event()
        connection.add_listener(self.on_open)

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        return self._inbox.get(timeout_secs)

    def wake(self) -> None:
        self._inbox.wake()

    def ack(self, delivery: Delivery) -> None:
        self._settle(delivery, requeue=False)

    def nack(self, delivery: Delivery) -> None:
        self._settle(delivery, requeue=True)

    def reject(self, delivery: Delivery, reason: str) -> None:
        with self._lock:
            if delivery.tag not in self._held:
                return
        self._dead_letter(delivery, reason)
        self._settle(delivery, requeue=False)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._held.clear()
            self._inbox.close()
        self._connection.call_soon(self._stop)
        self._stopped.wait(_CLOSE_SECS)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def in_flight(self, queue: str) -> int:
        """Count a queue's messages that this consumer holds."""
        with self._lock:
            return sum(delivery.queue == queue for delivery, _ in self._held.values())

    def _settle(self, delivery: Delivery, *, requeue: bool) -> None:
        with self._lock:
            held = self._held.pop(delivery.tag, None)
            if held is None:
                return
            self._inbox.settle(delivery)
            self._settled.append((held[1], requeue))
            is_first = len(self._settled) == 1
        if is_first:
            self._connection.call_soon(self._send_settled)

    # Everything below runs in the connection's thread.

    def on_channel_open(self, channel: Channel) -> None:
        channel.add_on_cancel_callback(self._on_cancel)
        channel.basic_qos(prefetch_count=self._prefetch)
        for queue in self._queues:
            self._consume(channel, queue)

    def on_channel_lost(self) -> None:
        with self._lock:
            self._held.clear()
            self._inbox.clear()
            self._settled.clear()
        self._unacknowledged.clear()
        self._subscriptions.clear()
        if self._closing:
            self._stopped.set()

    def _consume(self, channel: Channel, queue: str) -> None:
        declare(channel, queue, lambda _: self._subscribe(channel, queue))

    def _subscribe(self, channel: Channel, queue: str) -> None:
        if channel.is_open and not self._closing:
            tag = channel.basic_consume(queue, partial(self._on_delivery, queue))
            self._subscriptions[tag] = queue

    def _on_cancel(self, frame: Any) -> None:
        """Subscribe again after the queue was deleted, or moved to another node."""
        queue = self._subscriptions.pop(frame.method.consumer_tag, None)
        channel = self._channel
        if queue is not None and channel is not None and not self._closing:
            self.call_if_open(channel, REDECLARE_SECS, lambda: self._consume(channel, queue))

    def _on_delivery(
        self, queue: str, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self._unacknowledged[method.delivery_tag] = None
        headers = properties.headers or {}
        delivery_count = int(headers.get("x-delivery-count", 0))
        attempt = 1 + delivery_count + int(headers.get(RETURNS_HEADER, 0))
        delivery = Delivery(queue, body, attempt, next(_TAGS))
        if delivery_count >= _MAX_RETURNS:
            self._replace(channel, method.delivery_tag, delivery)
            return
        with self._lock:
            if self._closed:
                return  # requeued with all others
            self._held[delivery.tag] = (delivery, method.delivery_tag)
            self._inbox.put(delivery)

    def _replace(self, channel: Channel, tag: int, delivery: Delivery) -> None:
        """Publish a copy of a message and acknowledge it; try again until that succeeds or the channel is lost."""

        def finish(confirmed: bool) -> None:
            if channel.is_open and channel is self._channel:
                self._acknowledge(channel, {tag}) if confirmed else self._replace(channel, tag, delivery)

        def on_confirm(confirmed: bool) -> None:
            with suppress(UnavailableError):  # closed meanwhile, and the message requeued
                self._connection.call_soon(finish, confirmed)

        if not self._closing:
            self._republish(delivery, on_confirm)

    def _send_settled(self) -> None:
        with self._lock:
            settled, self._settled = self._settled, []
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        for tag, requeue in settled:
            if requeue:
                channel.basic_nack(tag, requeue=True)
                del self._unacknowledged[tag]
        self._acknowledge(channel, {tag for tag, requeue in settled if not requeue})

    def _acknowledge(self, channel: Channel, tags: set[int]) -> None:
        """Acknowledge with one frame all that precede every other unacknowledged delivery, and the rest one by one."""
        together = list(takewhile(tags.__contains__, self._unacknowledged))
        if together:
            channel.basic_ack(together[-1], multiple=True)
        for tag in tags.difference(together):
            channel.basic_ack(tag)
        for tag in tags:
            del self._unacknowledged[tag]

    def _stop(self) -> None:
        """Cancel the subscriptions, then requeue what is held: otherwise some of it would be delivered here again."""
        self._closing = True
        self._connection.remove_listener(self.on_open)
        self._send_settled()
        if self._channel is None or not self._channel.is_open:
            self._stopped.set()
            return
        tags = list(self._subscriptions)
        for tag in tags:
            self._channel.basic_cancel(tag, self._on_cancelled)
        if not tags:
            self._requeue_all(self._channel)

    def _on_cancelled(self, frame: Any) -> None:
        self._subscriptions.pop(frame.method.consumer_tag, None)
        if not self._subscriptions and self._channel is not None and self._channel.is_open:
            self._requeue_all(self._channel)

    def _requeue_all(self, channel: Channel) -> None:
        if self._unacknowledged:
            channel.basic_nack(0, multiple=True, requeue=True)
        channel.close()

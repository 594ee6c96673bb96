"""Publisher: every message is persistent, mandatory and confirmed; many are in flight at a time.

What was unconfirmed on a lost channel is published again on the next one. A message without a queue waits until the
queue is declared again, and a nacked one is retried. A message that is not confirmed within `timeout_secs` is dropped,
so that nothing is published long after its sender got an error.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pika import BasicProperties
from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel
from pika.spec import Basic

from penstock.common.broker.base import ConfirmCallback, Delivery
from penstock.common.broker.rabbitmq.channel import REDECLARE_SECS, ChannelListener, declare
from penstock.common.broker.rabbitmq.connection import Connection
from penstock.common.model.errors import UnavailableError

log = logging.getLogger(__name__)

_PERSISTENT = 2
_MAX_IN_FLIGHT = 1_000
_MAX_PENDING = 20_000
_NACK_PAUSE_SECS = 0.25
RETURNS_HEADER = "penstock-returns"
"""In a copy of a message: how often the original had returned to its queue."""


@dataclass(slots=True)
class _Batch:
    """Messages published together. `on_confirm` is called once, with whether RabbitMQ has confirmed them all."""

    pending: int
    deadline: float
    on_confirm: Callable[[bool], None]
    confirmed: bool = True


@dataclass(slots=True)
class _Message:
    queue: str
    body: bytes
    batch: _Batch
    returns: int = 0


class Publisher(ChannelListener):
    """Publishes on a connection of its own: during an alarm, RabbitMQ stops reading from connections that publish."""

    def __init__(self, connection: Connection, timeout_secs: float) -> None:
        super().__init__(connection)
        self._timeout_secs = timeout_secs
        self._pending = 0
        self._pending_changed = threading.Condition()
        # For the connection's thread.
        self._waiting: deque[_Message] = deque()
        self._unconfirmed: dict[int, _Message] = {}
        self._unroutable: dict[str, list[_Message]] = {}
        self._number = 0
        self._ready = False
        self._alarm: str | None = None
        self._alarm_reason = ""
        self._watched: SelectConnection | None = None
        connection.add_listener(self.on_open)

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool) -> None:
        """See the port. Fails at once if too many messages are pending. From any thread."""
        if not bodies:
            return
        done = threading.Event()
        batch = self._make_batch(len(bodies), lambda _: done.set(), limited=not confirm)
        self._connection.call_soon(self._enqueue, [_Message(queue, body, batch) for body in bodies])
        if confirm and not (done.wait(self._timeout_secs) and batch.confirmed):
            raise self._unconfirmed_error(len(bodies))

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        """See the port. `on_confirm` is called in the connection's thread. From any thread."""

        def end(confirmed: bool) -> None:
            on_confirm(None if confirmed else self._unconfirmed_error(len(messages)))

        batch = self._make_batch(len(messages), end, limited=True)
        self._connection.call_soon(self._enqueue, [_Message(queue, body, batch) for queue, body in messages])

    def republish(self, delivery: Delivery, on_confirm: Callable[[bool], None]) -> None:
        """Publish a copy of a delivery that keeps its count of attempts; see `publish_then`."""
        batch = self._make_batch(1, on_confirm, limited=False)
        self._connection.call_soon(
            self._enqueue, [_Message(delivery.queue, delivery.body, batch, returns=delivery.attempt - 1)]
        )

    def check(self) -> None:
        """Raise UnavailableError if RabbitMQ is unreachable, or has said that it takes no messages. From any thread."""
        if self._alarm or self._connection.outage:
            raise self._error("no messages can be published")

    def flush(self, timeout_secs: float) -> None:
        """Wait until no message is pending, for at most `timeout_secs`."""
        self._connection.call_soon(self._enqueue, [])  # drops what has expired
        with self._pending_changed:
            self._pending_changed.wait_for(lambda: not self._pending, timeout_secs)

    def _make_batch(self, size: int, on_confirm: Callable[[bool], None], *, limited: bool) -> _Batch:
        with self._pending_changed:
            if limited and self._pending + size > _MAX_PENDING:
                raise self._error(f"{self._pending} messages are waiting to be published")
            self._pending += size
        return _Batch(size, time.monotonic() + self._timeout_secs, on_confirm)

    def _unconfirmed_error(self, size: int) -> UnavailableError:
        return self._error(f"{size} messages were not all confirmed")

    def _error(self, message: str) -> UnavailableError:
        server = self._connection.server
        reason = self._alarm or self._connection.outage or f"{server} did not answer within {self._timeout_secs:g} s"
        waiting_for = f"broker blocked ({self._alarm_reason})" if self._alarm else None
        return UnavailableError("broker", f"{message}: {reason}", waiting_for=waiting_for)

    # Everything below runs in the connection's thread.

    def on_open(self, connection: SelectConnection) -> None:
        if connection is not self._watched:
            self._watched, self._alarm = connection, None
            connection.add_on_connection_blocked_callback(self._on_blocked)
            connection.add_on_connection_unblocked_callback(self._on_unblocked)
        super().on_open(connection)

    def on_channel_open(self, channel: Channel) -> None:
        self._number = 0
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, self._on_ready)

    def on_channel_lost(self) -> None:
        self._ready = False
        unroutable = [message for messages in self._unroutable.values() for message in messages]
        self._waiting.extendleft(reversed(unroutable + list(self._unconfirmed.values())))
        self._unroutable.clear()
        self._unconfirmed.clear()

    def _on_ready(self, _: object) -> None:
        self._ready = True
        self._send_waiting()

    def _enqueue(self, messages: list[_Message]) -> None:
        while self._waiting and self._drop_if_expired(self._waiting[0]):
            self._waiting.popleft()
        self._waiting.extend(messages)
        self._send_waiting()

    def _retry(self, messages: list[_Message]) -> None:
        self._waiting.extendleft(reversed(messages))
        self._send_waiting()

    def _send_waiting(self) -> None:
        channel = self._channel
        while self._waiting and self._ready and not self._alarm and len(self._unconfirmed) < _MAX_IN_FLIGHT:
            if channel is None or not channel.is_open:
                return
            message = self._waiting.popleft()
            if not self._drop_if_expired(message):
                self._send(channel, message)

    def _send(self, channel: Channel, message: _Message) -> None:
        self._number += 1
        self._unconfirmed[self._number] = message
        # RabbitMQ returns a message without its delivery tag, so the message carries the number itself.
        headers = {RETURNS_HEADER: message.returns} if message.returns else None
        properties = BasicProperties(delivery_mode=_PERSISTENT, message_id=str(self._number), headers=headers)
        channel.basic_publish("", message.queue, message.body, properties, mandatory=True)

    def _drop_if_expired(self, message: _Message) -> bool:
        if time.monotonic() < message.batch.deadline:
            return False
        message.batch.confirmed = False
        self._settle([message])
        if not message.batch.pending:
            log.warning("messages for %s dropped: not confirmed within %g s", message.queue, self._timeout_secs)
        return True

    def _settle(self, messages: list[_Message]) -> None:
        for message in messages:
            batch = message.batch
            batch.pending -= 1
            if not batch.pending:
                batch.on_confirm(batch.confirmed)
        with self._pending_changed:
            self._pending -= len(messages)
            self._pending_changed.notify_all()

    def _on_confirm(self, frame: Any) -> None:
        last = frame.method.delivery_tag
        numbers = [last]
        if frame.method.multiple:
            numbers = list(takewhile(last.__ge__, self._unconfirmed))
        messages = [self._unconfirmed.pop(number) for number in numbers if number in self._unconfirmed]
        if isinstance(frame.method, Basic.Nack):
            self._connection.call_later(_NACK_PAUSE_SECS, self._retry, messages)
        else:
            self._settle(messages)
            self._send_waiting()

    def _on_return(self, channel: Channel, _: object, properties: BasicProperties, __: bytes) -> None:
        """Keep an unroutable message until its queue is declared. RabbitMQ confirms it too, which has no effect."""
        message = self._unconfirmed.pop(int(properties.message_id), None)
        if message is None:
            return
        queue = message.queue
        unroutable = self._unroutable.setdefault(queue, [])
        unroutable.append(message)
        if len(unroutable) == 1:
            self.call_if_open(
                channel, REDECLARE_SECS, lambda: declare(channel, queue, lambda _: self._retry_unroutable(queue))
            )

    def _retry_unroutable(self, queue: str) -> None:
        self._retry(self._unroutable.pop(queue, []))

    def _on_blocked(self, _: object, frame: Any) -> None:
        self._alarm_reason = frame.method.reason
        self._alarm = f"{self._connection.server} takes no messages: {frame.method.reason}"

    def _on_unblocked(self, *_: object) -> None:
        self._alarm = None
        self._send_waiting()

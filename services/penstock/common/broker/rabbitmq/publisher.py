"""What goes out: every message persistent, mandatory and confirmed, many under way at a time.

A message leaves this process's care once RabbitMQ has confirmed it. What a lost channel had not confirmed goes out
again on the next one; what finds no queue waits until the queue is declared; what is nacked is tried again. A message
that is not confirmed in `timeout_secs` is given up, so that nothing is sent long after its sender was told it failed.
"""

from __future__ import annotations

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

from penstock.common.broker.base import Delivery
from penstock.common.broker.rabbitmq.channel import REBUILD_SECS, ChannelListener, declare
from penstock.common.broker.rabbitmq.connection import Connection
from penstock.common.model.errors import UnavailableError

log = logging.getLogger(__name__)

_PERSISTENT = 2
_WINDOW = 1_000
_MAX_UNSETTLED = 20_000
_NACK_PAUSE_SECS = 0.25
RETURNS = "penstock-returns"
"""The header in which a copy says how often the message had come back to its queue before."""


@dataclass(slots=True)
class _Batch:
    """Messages published together. `end` is called once, with whether RabbitMQ has confirmed them all."""

    left: int
    deadline: float
    end: Callable[[bool], None]
    confirmed: bool = True


@dataclass(slots=True)
class _Message:
    queue: str
    body: bytes
    batch: _Batch
    returns: int = 0


class Publisher(ChannelListener):
    """Publishes on a link of its own: RabbitMQ stops reading from connections that publish during an alarm."""

    def __init__(self, link: Connection, timeout_secs: float) -> None:
        super().__init__(link)
        self._timeout_secs = timeout_secs
        self._waiting: deque[_Message] = deque()
        self._unconfirmed: dict[int, _Message] = {}
        self._homeless: dict[str, list[_Message]] = {}
        self._number = 0
        self._ready = False
        self._connection: Any = None
        self._alarm: str | None = None
        self._unsettled = 0
        self._settled = threading.Condition()
        link.add(self)

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool) -> None:
        """Send messages; wait for RabbitMQ to confirm them all if `confirm`. From any thread.

        Raises:
            UnavailableError: not confirmed in time, or too many messages wait already.
        """
        if not bodies:
            return
        self._count(len(bodies), must_fit=not confirm)
        done = threading.Event()
        batch = _Batch(len(bodies), time.monotonic() + self._timeout_secs, lambda _: done.set())
        messages = [_Message(queue, body, batch) for body in bodies]
        self._link.run_soon(lambda: self._take(messages))
        if confirm and not (done.wait(self._timeout_secs) and batch.confirmed):
            raise self._unavailable(f"of {len(bodies)} messages not all were confirmed")

    def publish_then(
        self, messages: Sequence[tuple[str, bytes]], then: Callable[[UnavailableError | None], None]
    ) -> None:
        """Send messages, each to its queue; `then` is told, in the link's thread, how it went. From any thread.

        Raises:
            UnavailableError: the link is closed, or too many messages wait already.
        """
        self._count(len(messages), must_fit=True)

        def end(confirmed: bool) -> None:
            then(None if confirmed else self._unavailable(f"of {len(messages)} messages not all were confirmed"))

        batch = _Batch(len(messages), time.monotonic() + self._timeout_secs, end)
        sent = [_Message(queue, body, batch) for queue, body in messages]
        self._link.run_soon(lambda: self._take(sent))

    def republish(self, delivery: Delivery, end: Callable[[bool], None]) -> None:
        """Send a copy that goes on counting attempts where `delivery` is. `end` is told, in the link's thread,
        whether it was confirmed. From any thread.

        Raises:
            UnavailableError: the link is closed.
        """
        self._count(1, must_fit=False)
        batch = _Batch(1, time.monotonic() + self._timeout_secs, end)
        message = _Message(delivery.queue, delivery.body, batch, returns=delivery.attempt - 1)
        self._link.run_soon(lambda: self._take([message]))

    def flush(self, timeout_secs: float) -> None:
        """Wait until nothing is under way, for `timeout_secs` at most."""
        self._link.run_soon(lambda: self._take([]))  # forgets what is late already
        with self._settled:
            self._settled.wait_for(lambda: not self._unsettled, timeout_secs)

    def move_in(self, connection: SelectConnection) -> None:
        if connection is not self._connection:
            self._connection, self._alarm = connection, None
            connection.add_on_connection_blocked_callback(self._block)
            connection.add_on_connection_unblocked_callback(self._unblock)
        super().move_in(connection)

    def begin(self, channel: Channel) -> None:
        self._number = 0
        channel.add_on_return_callback(self._take_back)
        channel.confirm_delivery(self._confirm, self._start)

    def end(self) -> None:
        self._ready = False
        homeless = [message for messages in self._homeless.values() for message in messages]
        self._waiting.extendleft(reversed(homeless + list(self._unconfirmed.values())))
        self._homeless.clear()
        self._unconfirmed.clear()

    def _count(self, messages: int, *, must_fit: bool) -> None:
        with self._settled:
            if must_fit and self._unsettled + messages > _MAX_UNSETTLED:
                raise self._unavailable(f"{self._unsettled} messages wait to be sent")
            self._unsettled += messages

    def _unavailable(self, what: str) -> UnavailableError:
        why = self._alarm or self._link.trouble or f"{self._link.server} did not answer in {self._timeout_secs:g} s"
        return UnavailableError("broker", f"{what}: {why}")

    def _start(self, _: object) -> None:
        self._ready = True
        self._pump()

    def _take(self, messages: list[_Message]) -> None:
        while self._waiting and self._forget_if_late(self._waiting[0]):
            self._waiting.popleft()
        self._waiting.extend(messages)
        self._pump()

    def _pump(self) -> None:
        channel = self._channel
        while self._waiting and self._ready and not self._alarm and len(self._unconfirmed) < _WINDOW:
            if channel is None or not channel.is_open:
                return
            message = self._waiting.popleft()
            if not self._forget_if_late(message):
                self._send(channel, message)

    def _send(self, channel: Channel, message: _Message) -> None:
        self._number += 1
        self._unconfirmed[self._number] = message
        # RabbitMQ returns a message without its delivery tag, so it carries its number itself.
        headers = {RETURNS: message.returns} if message.returns else None
        properties = BasicProperties(delivery_mode=_PERSISTENT, message_id=str(self._number), headers=headers)
        channel.basic_publish("", message.queue, message.body, properties, mandatory=True)

    def _forget_if_late(self, message: _Message) -> bool:
        if time.monotonic() < message.batch.deadline:
            return False
        message.batch.confirmed = False
        self._settle([message])
        if not message.batch.left:
            log.warning("messages to %s are given up after %g s", message.queue, self._timeout_secs)
        return True

    def _confirm(self, frame: Any) -> None:
        last = frame.method.delivery_tag
        numbers = [last]
        if frame.method.multiple:
            numbers = list(takewhile(last.__ge__, self._unconfirmed))
        messages = [self._unconfirmed.pop(number) for number in numbers if number in self._unconfirmed]
        if isinstance(frame.method, Basic.Nack):
            self._link.run_later(_NACK_PAUSE_SECS, lambda: self._again(messages))
        else:
            self._settle(messages)
            self._pump()

    def _settle(self, messages: list[_Message]) -> None:
        for message in messages:
            batch = message.batch
            batch.left -= 1
            if not batch.left:
                batch.end(batch.confirmed)
        with self._settled:
            self._unsettled -= len(messages)
            self._settled.notify_all()

    def _take_back(self, channel: Channel, _: object, properties: BasicProperties, __: bytes) -> None:
        """Keep a message for which there is no queue until there is one. Its confirm follows and finds it gone."""
        message = self._unconfirmed.pop(int(properties.message_id), None)
        if message is None:
            return
        homeless = self._homeless.setdefault(message.queue, [])
        homeless.append(message)
        if len(homeless) == 1:
            queue = message.queue
            self.soon(channel, REBUILD_SECS, lambda: declare(channel, queue, self._house(queue)))

    def _house(self, queue: str) -> Callable[[object], None]:
        return lambda _: self._again(self._homeless.pop(queue, []))

    def _again(self, messages: list[_Message]) -> None:
        self._waiting.extendleft(reversed(messages))
        self._pump()

    def _block(self, _: object, frame: Any) -> None:
        self._alarm = f"{self._link.server} takes no messages: {frame.method.reason}"

    def _unblock(self, *_: object) -> None:
        self._alarm = None
        self._pump()

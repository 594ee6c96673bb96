"""Channels of a connection.

A `ChannelListener`, the base of publisher and consumers, opens a new channel whenever the old one is lost. `QueueAdmin`
declares and inspects queues, each time on a new channel, since RabbitMQ closes it on an error.
"""

import logging
import re
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from penstock.common.broker.rabbitmq.connection import Connection, describe
from penstock.common.model.errors import BrokenSetupError, UnavailableError

log = logging.getLogger(__name__)

_REOPEN_SECS = 0.5
REDECLARE_SECS = 0.5
"""How long a deleted queue stays deleted. If a queue of the same name is declared within some 50 ms, RabbitMQ (seen
with 3.10) neither tells consumers that the old queue is gone nor delivers anything from the new one to them."""
QUORUM = {"x-queue-type": "quorum"}
"""The only argument of a queue. Arguments can never be changed, so limits are set by policies."""
_NOT_FOUND = 404
_OTHER_ARGUMENTS = re.compile(r"inequivalent arg .* for queue '(?P<queue>[^']+)' in vhost '(?P<vhost>[^']+)'")
_LOG_AGAIN_SECS = 60.0

Answer = Callable[[Any], None]


class ChannelListener(ABC):
    """Runs in the connection's thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._closing = False
        self._logged: tuple[str, float] = ("", 0.0)

    def on_open(self, connection: SelectConnection) -> None:
        if not self._closing:
            connection.channel(on_open_callback=self._use_channel)

    @abstractmethod
    def on_channel_open(self, channel: Channel) -> None:
        """Set up the new channel."""

    @abstractmethod
    def on_channel_lost(self) -> None:
        """Clean up: everything unconfirmed or unacknowledged on the channel is lost with it."""

    def call_if_open(self, channel: Channel, delay_secs: float, call: Callable[[], None]) -> None:
        """Call something after a delay, unless the channel is lost by then."""

        def check_and_call() -> None:
            if channel.is_open and channel is self._channel:
                call()

        self._connection.call_later(delay_secs, check_and_call)

    def _use_channel(self, channel: Channel) -> None:
        if self._closing:
            channel.close()
            return
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_close)
        self.on_channel_open(channel)

    def _on_channel_close(self, channel: Channel, reason: Exception) -> None:
        connection = channel.connection
        if channel is not self._channel:
            return
        self._channel = None
        self.on_channel_lost()
        if self._closing or not connection.is_open:
            return  # the next connection opens a new channel
        self._log_loss(reason)
        self._connection.call_later(_REOPEN_SECS, self._reopen, connection)

    def _log_loss(self, reason: Exception) -> None:
        """Log why a channel was closed, if not just before: a queue that cannot be used closes every one."""
        text, now = _find_other_queue(reason) or f"RabbitMQ closed a channel: {describe(reason)}", time.monotonic()
        before, logged_at = self._logged
        if text != before or now - logged_at > _LOG_AGAIN_SECS:
            self._logged = (text, now)
            log.warning("%s", text)

    def _reopen(self, connection: SelectConnection) -> None:
        if connection.is_open and connection is self._connection.current:
            self.on_open(connection)


def declare(channel: Channel, queue: str, callback: Any = None) -> None:
    """Create a quorum queue if it does not exist; `callback` gets the server's answer."""
    channel.queue_declare(queue, durable=True, arguments=QUORUM, callback=callback)


def _find_other_queue(reason: Exception) -> str | None:
    """Return what to do about a queue that was created with other arguments, if that is why a channel was closed."""
    match = _OTHER_ARGUMENTS.search(str(getattr(reason, "reply_text", "")))
    if match is None:
        return None
    command = f"rabbitmqctl --vhost {shlex.quote(match['vhost'])} delete_queue {shlex.quote(match['queue'])}"
    return (
        f"queue {match['queue']} exists with other arguments than x-queue-type=quorum; remove it, and Penstock"
        f" creates it and sends again what was in it: {command}"
    )


class QueueAdmin:
    """Sends requests, again if the connection breaks meanwhile, for `timeout_secs` in all. From any thread.

    All methods raise UnavailableError if RabbitMQ is unreachable or refuses.
    """

    def __init__(self, connection: Connection, timeout_secs: float) -> None:
        self._connection = connection
        self._timeout_secs = timeout_secs

    def declare(self, queue: str) -> None:
        """Create a queue if it does not exist."""
        self._call(lambda channel, answer: declare(channel, queue, answer))

    def count(self, queue: str) -> tuple[int, int]:
        """Return the number of ready messages and of consumers; zeros if there is no such queue."""
        frame = self._call(lambda channel, answer: channel.queue_declare(queue, passive=True, callback=answer))
        return (0, 0) if frame is None else (int(frame.method.message_count), int(frame.method.consumer_count))

    def _call(self, request: Callable[[Channel, Answer], None]) -> Any:
        """Return the server's answer, a method frame; None if the queue does not exist."""
        deadline = time.monotonic() + self._timeout_secs
        while True:
            self._connection.wait_open(deadline - time.monotonic())
            future: Future[Any] = Future()
            self._connection.call_soon(self._send, request, future)
            try:
                return future.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError as error:
                message = f"{self._connection.server} did not answer within {self._timeout_secs:g} s"
                raise UnavailableError("broker", message) from error
            except ChannelClosedByBroker as error:
                if error.reply_code == _NOT_FOUND:
                    return None
                other = _find_other_queue(error)
                if other is not None:
                    raise BrokenSetupError("broker", other) from error
                message = f"{self._connection.server} refused: {describe(error)}"
                raise UnavailableError("broker", message) from error
            except AMQPError:
                continue  # the connection broke: try the next one

    def _send(self, request: Callable[[Channel, Answer], None], future: Future[Any]) -> None:
        connection = self._connection.current
        if connection is None or not connection.is_open:
            future.set_exception(AMQPError("disconnected"))
            return
        connection.channel(on_open_callback=lambda channel: _send_on(channel, request, future))


def _send_on(channel: Channel, request: Callable[[Channel, Answer], None], future: Future[Any]) -> None:
    def answer(frame: Any) -> None:
        if not future.done():
            future.set_result(frame)
        if channel.is_open:
            channel.close()

    def fail(_: Channel, reason: Exception) -> None:
        if not future.done():
            future.set_exception(reason if isinstance(reason, AMQPError) else AMQPError(str(reason)))

    channel.add_on_close_callback(fail)
    request(channel, answer)

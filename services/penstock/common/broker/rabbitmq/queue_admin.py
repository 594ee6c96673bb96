"""Queue admin: declares and inspects queues, each time on a new channel, since RabbitMQ closes it on an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from penstock.common.broker.rabbitmq.channel import declare
from penstock.common.broker.rabbitmq.connection import Connection, describe
from penstock.common.model.errors import UnavailableError

Answer = Callable[[Any], None]
_NOT_FOUND = 404


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

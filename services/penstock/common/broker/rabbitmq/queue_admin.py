"""Questions about queues: each on a channel of its own, since RabbitMQ closes the channel of one that goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from penstock.common.broker.rabbitmq.connection import Connection, describe
from penstock.common.model.errors import UnavailableError

Answer = Callable[[Any], None]
_NOT_FOUND = 404


class QueueAdmin:
    """Asks on a link, once more where the connection broke meanwhile, for `timeout_secs` in all."""

    def __init__(self, link: Connection, timeout_secs: float) -> None:
        self._link = link
        self._timeout_secs = timeout_secs

    def ask(self, question: Callable[[Channel, Answer], None]) -> Any:
        """Return the server's answer: a method frame, or None where the queue does not exist. From any thread.

        Raises:
            UnavailableError: the broker is away, or refused.
        """
        deadline = time.monotonic() + self._timeout_secs
        while True:
            self._link.wait_open(deadline - time.monotonic())
            future: Future[Any] = Future()
            self._link.run_soon(lambda future=future: self._put(question, future))  # type: ignore[misc]
            try:
                return future.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError as error:
                raise UnavailableError("broker", f"{self._link.server} did not answer in time") from error
            except ChannelClosedByBroker as error:
                if error.reply_code == _NOT_FOUND:
                    return None
                raise UnavailableError("broker", f"{self._link.server} refused: {describe(error)}") from error
            except AMQPError:
                continue  # the connection broke: the next one will know

    def _put(self, question: Callable[[Channel, Answer], None], future: Future[Any]) -> None:
        if self._link.connection is None or not self._link.connection.is_open:
            future.set_exception(AMQPError("disconnected"))
            return
        self._link.connection.channel(on_open_callback=lambda channel: _begin(channel, question, future))


def _begin(channel: Channel, question: Callable[[Channel, Answer], None], future: Future[Any]) -> None:
    def answer(frame: Any) -> None:
        if not future.done():
            future.set_result(frame)
        if channel.is_open:
            channel.close()

    def fail(_: Channel, reason: Exception) -> None:
        if not future.done():
            future.set_exception(reason if isinstance(reason, AMQPError) else AMQPError(str(reason)))

    channel.add_on_close_callback(fail)
    question(channel, answer)

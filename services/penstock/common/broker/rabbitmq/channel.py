"""What lives on a channel: given a new one whenever the old one is lost, alone or with its connection."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel

from penstock.common.broker.rabbitmq.connection import Connection, describe

log = logging.getLogger(__name__)

_PAUSE_SECS = 0.5
REBUILD_SECS = 0.5
"""How long a queue that is gone stays so. A queue of its name that comes within some 50 ms of its end keeps consumers
whom RabbitMQ (seen with 3.10) neither tells that the old one is gone, nor gives anything from the new one."""
QUORUM = {"x-queue-type": "quorum"}
"""A queue's only argument: arguments cannot be changed later, so every limit is a policy's."""


class ChannelListener(ABC):
    """The part that publisher and consumers share. Everything here happens in the link's thread."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._left = False

    def move_in(self, connection: SelectConnection) -> None:
        if not self._left:
            connection.channel(on_open_callback=self._open)

    @abstractmethod
    def begin(self, channel: Channel) -> None:
        """Set the new channel up."""

    @abstractmethod
    def end(self) -> None:
        """Take note that the channel is gone, with everything that was under way on it."""

    def _open(self, channel: Channel) -> None:
        if self._left:
            channel.close()
            return
        self._channel = channel
        channel.add_on_close_callback(self._lose)
        self.begin(channel)

    def _lose(self, channel: Channel, reason: Exception) -> None:
        connection = channel.connection
        if channel is not self._channel:
            return
        self._channel = None
        self.end()
        if self._left or not connection.is_open:
            return  # a new connection will come with a new channel
        log.warning("RabbitMQ closed a channel: %s", describe(reason))
        self._link.run_later(_PAUSE_SECS, lambda: self._move_back(connection))

    def soon(self, channel: Channel, delay_secs: float, call: Callable[[], None]) -> None:
        """Have something called after a while, unless the channel is gone by then."""

        def call_if_open() -> None:
            if channel.is_open and channel is self._channel:
                call()

        self._link.run_later(delay_secs, call_if_open)

    def _move_back(self, connection: SelectConnection) -> None:
        if connection.is_open and connection is self._link.connection:
            self.move_in(connection)


def declare(channel: Channel, queue: str, callback: Any = None) -> None:
    """Make sure that a quorum queue exists; `callback` gets the server's answer."""
    channel.queue_declare(queue, durable=True, arguments=QUORUM, callback=callback)

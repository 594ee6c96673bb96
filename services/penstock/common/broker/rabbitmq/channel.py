"""Channel listener: what publisher and consumers share. It opens a new channel whenever the old one is lost."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel

from penstock.common.broker.rabbitmq.connection import Connection, describe

log = logging.getLogger(__name__)

_REOPEN_SECS = 0.5
REDECLARE_SECS = 0.5
"""How long a deleted queue stays deleted. If a queue of the same name is declared within some 50 ms, RabbitMQ (seen
with 3.10) neither tells consumers that the old queue is gone nor delivers anything from the new one to them."""
QUORUM = {"x-queue-type": "quorum"}
"""The only argument of a queue. Arguments can never be changed, so limits are set by policies."""


class ChannelListener(ABC):
    """Runs in the connection's thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._closing = False

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
        log.warning("RabbitMQ closed a channel: %s", describe(reason))
        self._connection.call_later(_REOPEN_SECS, self._reopen, connection)

    def _reopen(self, connection: SelectConnection) -> None:
        if connection.is_open and connection is self._connection.current:
            self.on_open(connection)


def declare(channel: Channel, queue: str, callback: Any = None) -> None:
    """Create a quorum queue if it does not exist; `callback` gets the server's answer."""
    channel.queue_declare(queue, durable=True, arguments=QUORUM, callback=callback)

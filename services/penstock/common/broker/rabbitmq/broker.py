"""`Broker` on RabbitMQ: quorum queues, one connection for what goes out and one for what comes in.

Where it differs from the memory broker, because RabbitMQ does:

- `Delivery.attempt` is the quorum queue's `x-delivery-count` plus one. Before RabbitMQ 4.3 that counts every way back
  to the queue, `nack` and the close of a consumer included.
- What is given back comes first again where the queue has a delivery limit (a policy's; 4.x has one of 20 by itself),
  and last where it has none. What has come back ten times goes to the end of its queue as a new message, because
  RabbitMQ drops what goes past the limit.
- `QueueDepth.in_flight` counts what this broker's own consumers hold, and `ready` may lag behind by a moment.
- A deleted queue is declared again where it is next needed; until then it counts as empty.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from pika.channel import Channel

from penstock.common.broker.base import Delivery, QueueDepth
from penstock.common.broker.memory import dead_letter
from penstock.common.broker.rabbitmq.channel import declare
from penstock.common.broker.rabbitmq.connection import Connection
from penstock.common.broker.rabbitmq.consumer import RabbitConsumer
from penstock.common.broker.rabbitmq.publisher import Publisher
from penstock.common.broker.rabbitmq.queue_admin import Answer, QueueAdmin
from penstock.common.broker.rabbitmq.url import read_url
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import DEAD_LETTER_QUEUE
from penstock.common.settings import BrokerSettings

_FLUSH_SECS = 5.0


class RabbitBroker:
    """Connects at once, in threads of its own, and stays at it: a broker that is away makes calls fail, nothing else.

    Not to be carried over a fork.

    Raises:
        SettingsError: the URL cannot be used.
    """

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # the links say what happened, once
        inward, outward = (read_url(url, settings, role) for role in ("consumes", "publishes"))
        self._inward = Connection(inward, settings.broker_max_pause_secs)
        self._outward = Connection(outward, settings.broker_max_pause_secs)
        self._publisher = Publisher(self._outward, settings.broker_timeout_secs)
        self._desk = QueueAdmin(self._inward, settings.broker_timeout_secs)
        self._consumers: list[RabbitConsumer] = []
        self._closed = False

    def declare(self, queues: Sequence[str]) -> None:
        for queue in queues:
            self._desk.ask(_declaring(queue))

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        self._publisher.publish(queue, bodies, confirm=confirm)

    def publish_then(
        self, messages: Sequence[tuple[str, bytes]], then: Callable[[UnavailableError | None], None]
    ) -> None:
        self._publisher.publish_then(messages, then)

    def consume(self, queues: Sequence[str], prefetch: int) -> RabbitConsumer:
        consumer = RabbitConsumer(self._inward, queues, prefetch, self._bury, self._publisher.republish)
        self._consumers.append(consumer)
        return consumer

    def depth(self, queue: str) -> QueueDepth:
        frame = self._desk.ask(lambda channel, answer: channel.queue_declare(queue, passive=True, callback=answer))
        in_flight = sum(consumer.in_flight(queue) for consumer in tuple(self._consumers))
        if frame is None:
            return QueueDepth(0, in_flight)
        return QueueDepth(int(frame.method.message_count), in_flight, int(frame.method.consumer_count))

    def purge(self, queue: str) -> int:
        frame = self._desk.ask(lambda channel, answer: channel.queue_purge(queue, callback=answer))
        return 0 if frame is None else int(frame.method.message_count)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for consumer in self._consumers:
            consumer.close()
        self._publisher.flush(_FLUSH_SECS)
        self._inward.close()
        self._outward.close()

    def _bury(self, delivery: Delivery, reason: str) -> None:
        self._publisher.publish(DEAD_LETTER_QUEUE, [dead_letter(delivery, reason)], confirm=True)


def _declaring(queue: str) -> Any:
    def ask(channel: Channel, answer: Answer) -> None:
        declare(channel, queue, answer)

    return ask

"""RabbitMQ broker: quorum queues, one connection that publishes and one that consumes.

It differs from the memory broker where RabbitMQ does:

- `Delivery.attempt` is the quorum queue's `x-delivery-count` plus one. Before RabbitMQ 4.3 that counts every return to
  the queue, `nack` and the close of a consumer included.
- A requeued message goes to the front if the queue has a delivery limit (set by a policy, or the default of 20 in 4.x),
  and to the back if it has none. After ten returns it is replaced by a copy at the back of its queue, because RabbitMQ
  drops messages that exceed the limit.
- `QueueDepth.in_flight` counts what this broker's own consumers hold, and `ready` may lag behind for a moment.
- A deleted queue is declared again when it is next used; until then it counts as empty.
"""

import logging
from collections.abc import Sequence

from penstock.common.broker.base import ConfirmCallback, Delivery, QueueDepth
from penstock.common.broker.rabbitmq.channel import QueueAdmin
from penstock.common.broker.rabbitmq.connection import Connection, read_url
from penstock.common.broker.rabbitmq.consumer import RabbitConsumer
from penstock.common.broker.rabbitmq.publisher import Publisher
from penstock.common.metrics import CallCounters
from penstock.common.model.messages import DEAD_LETTER_QUEUE, write_dead_letter
from penstock.common.settings import BrokerSettings

_FLUSH_SECS = 5.0


class RabbitBroker:
    """Connects in threads of its own, and keeps trying: while RabbitMQ is unreachable, calls fail.

    Must not be carried over a fork.

    Raises:
        SettingsError: the URL cannot be used.
    """

    def __init__(self, url: str, settings: BrokerSettings, counters: CallCounters | None = None) -> None:
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # Connection logs each event once
        consuming, publishing = (read_url(url, settings, role) for role in ("consumes", "publishes"))
        self._counters = counters or CallCounters()
        self._consuming = Connection(consuming, settings.broker_max_pause_secs)
        self._publishing = Connection(publishing, settings.broker_max_pause_secs)
        self._publisher = Publisher(self._publishing, settings.broker_timeout_secs)
        self._admin = QueueAdmin(self._consuming, settings.broker_timeout_secs)
        self._consumers: list[RabbitConsumer] = []
        self._closed = False

    def declare(self, queues: Sequence[str]) -> None:
        with self._counters.time("broker.declare"):
            for queue in queues:
                self._admin.declare(queue)

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        with self._counters.time("broker.publish"):
            self._publisher.publish(queue, bodies, confirm=confirm)

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        self._publisher.publish_then(messages, self._counters.time_until_called("broker.publish", on_confirm))

    def consume(self, queues: Sequence[str], prefetch: int) -> RabbitConsumer:
        consumer = RabbitConsumer(self._consuming, queues, prefetch, self._dead_letter, self._publisher.republish)
        self._consumers = [each for each in self._consumers if not each.is_closed] + [consumer]
        return consumer

    def check(self) -> None:
        self._publisher.check()

    def depth(self, queue: str) -> QueueDepth:
        with self._counters.time("broker.depth"):
            ready, consumers = self._admin.count(queue)
            in_flight = sum(consumer.in_flight(queue) for consumer in tuple(self._consumers))
            return QueueDepth(ready, in_flight, consumers)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for consumer in self._consumers:
            consumer.close()
        self._publisher.flush(_FLUSH_SECS)
        self._consuming.close()
        self._publishing.close()

    def _dead_letter(self, delivery: Delivery, reason: str) -> None:
        body = write_dead_letter(delivery.queue, delivery.body, reason)
        self._publisher.publish(DEAD_LETTER_QUEUE, [body], confirm=True)

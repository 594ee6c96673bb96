"""Queues of a broker, emptied by a test."""

from __future__ import annotations

from penstock.common.broker.base import Broker


def empty_queue(broker: Broker, queue: str) -> None:
    """Take and acknowledge every ready message of a queue that has no other consumer."""
    ready = broker.depth(queue).ready
    consumer = broker.consume([queue], max(1, ready))
    for _ in range(ready):
        delivery = consumer.get(timeout_secs=10)
        assert delivery is not None
        consumer.ack(delivery)
    consumer.close()

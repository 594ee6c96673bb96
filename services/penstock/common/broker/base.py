"""Broker port: named queues of small messages, delivered at least once, acknowledged, with delivery counts.

Every adapter passes the contract suite in `tests/contract/broker/`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.common.model.errors import UnavailableError

ConfirmCallback = Callable[[UnavailableError | None], None]


@dataclass(frozen=True)
class QueueDepth:
    """Messages and consumers of one queue: `ready` messages wait, `in_flight` ones are delivered but not acknowledged.

    An adapter that cannot see other processes' deliveries counts only this process's as `in_flight`.
    """

    ready: int
    in_flight: int
    consumers: int = 0


@dataclass(frozen=True)
class Delivery:
    """One message held by a consumer.

    `attempt` is 1 on the first delivery and rises by one with each lost consumer. Some brokers also count messages that
    were requeued, so more than 1 means only that a consumer may have died while it held the message.
    """

    queue: str
    body: bytes
    attempt: int
    tag: int


class Consumer(Protocol):
    """Receives messages from some queues, at most `prefetch` of them unacknowledged at a time.

    When a consumer is lost (its process dies, its connection breaks), its unacknowledged messages return to the front
    of their queues with `attempt` raised by one.
    """

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        """Return the next message; None after `timeout_secs`, or when the consumer is closed."""

    def wake(self) -> None:
        """Make a waiting `get`, or else the next one, return None at once. May be called from a signal handler."""

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge: the message is removed. Only the first of ack, nack and reject has an effect."""

    def nack(self, delivery: Delivery) -> None:
        """Requeue at the front of the queue; `attempt` is not raised."""

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move a message that cannot be processed to the dead-letter queue, with the reason."""

    def close(self) -> None:
        """Stop consuming and requeue what is unacknowledged; `attempt` is not raised."""


class Broker(Protocol):
    """A connection to the queues. All methods may be called from any thread.

    They raise UnavailableError if the broker is unreachable.
    """

    def declare(self, queues: Sequence[str]) -> None:
        """Create the queues that do not exist."""

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        """Add messages to a queue; wait until the broker has confirmed them, unless `confirm` is false.

        After an error none, some or all of the messages may have been published.
        """

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        """Publish pairs of queue and message without waiting; `on_confirm` is called once, when all are confirmed.

        It gets an error if they are not; none, some or all of the messages may have been published. It runs in a thread
        of the broker and must neither block nor raise. It may never be called while the broker stays unreachable. If
        this raises an error, nothing was sent.
        """

    def consume(self, queues: Sequence[str], prefetch: int) -> Consumer:
        """Start consuming from several queues, in turn."""

    def check(self) -> None:
        """Raise UnavailableError if the broker is known to take no messages now. Does not wait for an answer."""

    def depth(self, queue: str) -> QueueDepth:
        """Count a queue's messages and consumers: none, if there is no such queue."""

    def close(self) -> None:
        """Requeue what all consumers hold, and disconnect."""

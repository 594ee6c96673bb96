"""The broker's port: named queues of small messages, at-least-once, with acknowledgements and delivery counts.

Every adapter passes the one contract suite in `tests/contract/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.common.model.errors import UnavailableError


@dataclass(frozen=True)
class QueueDepth:
    """Messages of one queue: `ready` wait for a consumer, `in_flight` are delivered and not acknowledged.

    `consumers` take from it. A broker that does not tell what other processes' consumers hold counts in `in_flight`
    what this process holds.
    """

    ready: int
    in_flight: int
    consumers: int = 0


@dataclass(frozen=True)
class Delivery:
    """One message in a consumer's hands. `attempt` is 1 at first, one more after each lost consumer.

    A broker may count what was given back as well, so more than 1 says that somebody may have died over the message.
    """

    queue: str
    body: bytes
    attempt: int
    tag: int


class Consumer(Protocol):
    """Messages from some queues, at most `prefetch` of them unacknowledged at a time.

    A consumer that is lost (its process died, its connection broke) gives all it held back to their queues, first in
    line, each with its attempt raised by one.
    """

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        """Return the next message, or None after `timeout_secs` or once the consumer is closed."""

    def wake(self) -> None:
        """Make a `get` that waits, or else the next one, return None at once. May be called from a signal handler."""

    def ack(self, delivery: Delivery) -> None:
        """Done with: the message is gone for good. A second answer to one delivery is ignored."""

    def nack(self, delivery: Delivery) -> None:
        """Give back unstarted: first in line again, the attempt not raised."""

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Unreadable: to the dead-letter queue, with the reason."""

    def close(self) -> None:
        """Stop consuming and give back what is unacknowledged, attempts not raised."""


class Broker(Protocol):
    """A connection to the queues. All methods may be called from any thread."""

    def declare(self, queues: Sequence[str]) -> None:
        """Make sure that queues exist."""

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        """Add messages to a queue; returns once the broker holds them (at once where `confirm` is false).

        Raises:
            UnavailableError: the broker is away; none, some or all of the messages may have arrived.
        """

    def publish_then(
        self, messages: Sequence[tuple[str, bytes]], then: Callable[[UnavailableError | None], None]
    ) -> None:
        """Add messages, each to its queue, and return at once; `then` is called once, when the broker holds them all.

        It gets an error where that is not sure: none, some or all of the messages may have arrived. It runs in a
        thread of the broker's, must not block, and must not raise. A broker that stays away may never call it.

        Raises:
            UnavailableError: they cannot be sent.
        """

    def consume(self, queues: Sequence[str], prefetch: int) -> Consumer:
        """Start consuming; messages of all the queues come in turn."""

    def depth(self, queue: str) -> QueueDepth:
        """Count a queue's messages."""

    def purge(self, queue: str) -> int:
        """Drop the messages that are ready; return how many."""

    def close(self) -> None:
        """Give back what every consumer holds, and disconnect."""

"""Webhook events: the ends of jobs with a webhook, and the attempts to deliver them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class WebhookEventState(StrEnum):
    """Whether an event has been delivered."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class DeliveryAttempt:
    """One POST of an event. It was successful if `error` is None."""

    at: float
    """Seconds since the epoch."""
    secs: float
    """How long it took."""
    status: int | None
    """HTTP status of the response; None without one."""
    error: str | None


@dataclass(frozen=True)
class WebhookEvent:
    """One end of a job that named a webhook. A job that is retried ends again, as another `run`."""

    job: str
    run: int
    summary: dict[str, Any]
    """`{state, name, labels, images, finished_at}` of the job at that end."""
    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    state: WebhookEventState
    due_at: float
    """When the next attempt is due, while the event is waiting."""
    deliveries: list[DeliveryAttempt]
    """The newest ones, oldest first."""

    @property
    def id(self) -> str:
        """The event's id, the same in every attempt, so that receivers can drop duplicates."""
        return f"{self.job}-{self.run}"

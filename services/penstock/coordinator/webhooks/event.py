"""A webhook as its receiver sees it: the event that tells of a job's end, and the signature by which it is believed."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from penstock.coordinator.ports.links import job_url

SIGNATURE_HEADER = "Penstock-Signature"


class NoticeState(StrEnum):
    """Whether the news of a job's end has arrived."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class Delivery:
    """One attempt to tell of a job's end. Without an `error`, it has arrived."""

    at: float
    secs: float
    status: int | None
    """Of the receiver's answer; None without one."""
    error: str | None


@dataclass(frozen=True)
class Notice:
    """The news that a job has ended. A job that is retried ends again: `run` tells its ends apart."""

    job: str
    run: int
    told: dict[str, Any]
    """`{state, name, labels, images, finished_at}` of the job as it was then."""
    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    state: NoticeState
    due_at: float
    """When it is to be tried next, while it is waiting."""
    deliveries: list[Delivery]
    """The newest ones, oldest first."""

    @property
    def id(self) -> str:
        """What its receiver knows it by, however often it comes."""
        return f"{self.job}-{self.run}"


def write_event(notice: Notice, base_url: str) -> bytes:
    """Return the event's JSON. `base_url` is where the receiver reaches this server; empty: the URL is a path."""
    told = dict(notice.told)
    event = {
        "id": notice.id,
        "type": f"job.{told['state']}",
        "job": {
            "id": notice.job,
            "url": base_url.rstrip("/") + job_url(notice.job),
            "run": notice.run,
            **told,
            "finished_at": _moment(told["finished_at"]),
        },
    }
    return json.dumps(event, separators=(",", ":")).encode()


def sign(body: bytes, secret: str, at: int) -> str:
    """Return the signature header: the time (seconds since the epoch), and the HMAC-SHA256 over it and the body."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _moment(seconds: Any) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).isoformat().replace("+00:00", "Z")

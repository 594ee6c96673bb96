"""Every named point at which a process can be made to die, or be told that what it did timed out.

A point is reached when the call that it names has done its work and has not returned yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Process = Literal["coordinator", "worker"]
Need = Literal["", "purge", "death", "postgresql"]


@dataclass(frozen=True)
class Point:
    """`call` is what it wraps: a port's method. `tellable`: its caller can be told that it timed out.

    A point with `needs` is reached only in a run whose queues are purged meanwhile, one of whose workers dies, or
    whose database is PostgreSQL.
    """

    name: str
    process: Process
    call: str
    tellable: bool = True
    needs: Need = ""


POINTS = (
    Point("upload stored", "coordinator", "Upload.commit of one file"),
    Point("job begun", "coordinator", "Repository.create_job"),
    Point("images written", "coordinator", "Repository.add_images"),
    Point("row written", "coordinator", "Repository.accept_job"),
    Point("cursor moved", "coordinator", "Repository.take_pending"),
    Point("plan stored", "coordinator", "Store.put of a plan that is too long for a message"),
    Point("published", "coordinator", "Broker.publish to a step's queue: the broker has it, its confirm is not seen"),
    Point("confirmed", "coordinator", "Broker.publish to a step's queue", tellable=False),
    Point("event taken", "coordinator", "Consumer.get of an event", tellable=False),
    Point("transaction committed", "coordinator", "Repository.apply of events"),
    Point("event acked", "coordinator", "Consumer.ack of an event", tellable=False),
    Point("running noted", "coordinator", "Repository.mark_running"),
    Point("intermediates removed", "coordinator", "Store.delete_prefix of a job's intermediates"),
    Point("job cancelled", "coordinator", "Repository.cancel_job"),
    Point("tombstone put", "coordinator", "Store.put of a cancelled job's tombstone"),
    Point("job retried", "coordinator", "Repository.retry_job"),
    Point("job deleted", "coordinator", "Repository.delete_job"),
    Point("results removed", "coordinator", "Store.delete_prefix of a deleted job's results"),
    Point("upload removed", "coordinator", "Store.delete_prefix of an upload that no job reads"),
    Point("lost images requeued", "coordinator", "Repository.requeue_in_flight", needs="purge"),
    Point("status put", "coordinator", "Repository.put_status", needs="postgresql"),
    Point("delivered", "worker", "Consumer.get of a chunk", tellable=False),
    Point("news told", "worker", "Broker.publish of an event that is not waited for"),
    Point("start counted", "worker", "Store.put of an image's starts", needs="death"),
    Point("blob written", "worker", "Store.put of a chunk's intermediates"),
    Point("next published", "worker", "Broker.publish to a step's queue: the broker has it, its confirm is not seen"),
    Point("next confirmed", "worker", "Broker.publish to a step's queue", tellable=False),
    Point("result written", "worker", "Store.put of a result"),
    Point("retry's input kept", "worker", "Store.put of the pixels that a retry goes on from"),
    Point("outcome published", "worker", "Broker.publish of outcomes: the broker has them, its confirm is not seen"),
    Point("outcome confirmed", "worker", "Broker.publish of outcomes", tellable=False),
    Point("acked", "worker", "Consumer.ack of a chunk", tellable=False),
    Point("input dropped", "worker", "Store.delete of a chunk's intermediates"),
)

BY_NAME = {point.name: point for point in POINTS}

STORE_PUTS = {
    "work": "blob written",
    "results": "result written",
    "resume": "retry's input kept",
    "cancelled": "tombstone put",
    "plans": "plan stored",
}
"""The point of `Store.put`, by the first part of its key; an image's starts lie among the intermediates."""

STORE_REMOVALS = {"work": "intermediates removed", "results": "results removed", "uploads": "upload removed"}
"""The point of `Store.delete_prefix`, by the first part of its prefix."""


def point_of_put(key: str) -> str | None:
    """Return the point that writing an object reaches."""
    return "start counted" if "/attempts-" in key else STORE_PUTS.get(key.partition("/")[0])

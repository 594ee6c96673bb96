"""Points at which a process can be killed, or get a timeout although its call succeeded.

A point is reached when its call has done its work and has not returned yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Process = Literal["coordinator", "worker"]
Need = Literal["", "purge", "death", "postgresql"]
Placement = Literal["mixed", "per step", "fused"]


@dataclass(frozen=True)
class Point:
    """`call` is the method of a port that it follows; `can_time_out`: its caller may get a timeout.

    A point with `needs` is reached only if queues are purged during the run, if a worker dies, or if the database is
    PostgreSQL. `placements` are the placements of workers in which the fault is injected.
    """

    name: str
    process: Process
    call: str
    can_time_out: bool = True
    needs: Need = ""
    placements: tuple[Placement, ...] = ("mixed",)


SHARING: tuple[Placement, ...] = ("mixed", "per step")
"""The placements in which outputs of an image share an intermediate."""
ALL: tuple[Placement, ...] = ("mixed", "per step", "fused")

POINTS = (
    Point("upload stored", "coordinator", "Upload.commit of one file"),
    Point("job begun", "coordinator", "Repository.create_job"),
    Point("images written", "coordinator", "Repository.add_images"),
    Point("row written", "coordinator", "Repository.accept_job"),
    Point("cursor moved", "coordinator", "Repository.take_pending"),
    Point("plan stored", "coordinator", "Store.put of a plan that is too long for a message"),
    Point(
        "published", "coordinator", "Broker.publish to a step's queue: the broker has it, the confirm is not received"
    ),
    Point("confirmed", "coordinator", "Broker.publish to a step's queue", can_time_out=False),
    Point("event taken", "coordinator", "Consumer.get of an event", can_time_out=False),
    Point("transaction committed", "coordinator", "Repository.apply of events"),
    Point("event acked", "coordinator", "Consumer.ack of an event", can_time_out=False),
    Point("listing written", "coordinator", "Upload.commit of the listing of a group's images"),
    Point("stale results removed", "coordinator", "Store.delete of results that a group has of an earlier run"),
    Point("running noted", "coordinator", "Repository.mark_running"),
    Point("intermediates removed", "coordinator", "Store.delete_prefix of a job's intermediates"),
    Point("job cancelled", "coordinator", "Repository.cancel_job"),
    Point("cancellation marker put", "coordinator", "Store.put of a job's cancellation marker"),
    Point("job retried", "coordinator", "Repository.retry_job"),
    Point("job deleted", "coordinator", "Repository.delete_job"),
    Point("results removed", "coordinator", "Store.delete_prefix of a deleted job's results"),
    Point("upload removed", "coordinator", "Store.delete_prefix of an upload that no job reads"),
    Point("lost images requeued", "coordinator", "Repository.requeue_in_flight", needs="purge"),
    Point("status put", "coordinator", "Repository.put_status", needs="postgresql"),
    Point("delivered", "worker", "Consumer.get of a chunk", can_time_out=False),
    Point("event published", "worker", "Broker.publish of an event without waiting for its confirm"),
    Point("attempt counted", "worker", "Store.put of an image's count of attempts", needs="death"),
    Point("blob written", "worker", "Store.put of a chunk's intermediates"),
    Point(
        "next published", "worker", "Broker.publish to a step's queue: the broker has it, the confirm is not received"
    ),
    Point("next confirmed", "worker", "Broker.publish to a step's queue", can_time_out=False),
    Point("first output sent", "worker", "Broker.publish of one of several messages about outputs", placements=SHARING),
    Point("result written", "worker", "Store.put of a result", placements=ALL),
    Point("retry's input kept", "worker", "Store.put of the pixels from which a retry continues"),
    Point(
        "outcome published",
        "worker",
        "Broker.publish of outcomes: the broker has them, the confirm is not received",
        placements=ALL,
    ),
    Point("outcome confirmed", "worker", "Broker.publish of outcomes", can_time_out=False),
    Point("acked", "worker", "Consumer.ack of a chunk", can_time_out=False),
    Point("input dropped", "worker", "Store.delete of a chunk's intermediates"),
    Point(
        "output's marker put", "worker", "Store.put of what says that an output has read its input", placements=SHARING
    ),
    Point(
        "shared input dropped",
        "worker",
        "Store.delete of intermediates that all outputs have read, with their markers",
        placements=SHARING,
    ),
)

BY_NAME = {point.name: point for point in POINTS}

STORE_PUTS = {
    "results": "result written",
    "resume": "retry's input kept",
    "cancelled": "cancellation marker put",
    "plans": "plan stored",
}
"""The point of `Store.put`, by the first part of the key. Intermediates have several."""

STORE_REMOVALS = {"work": "intermediates removed", "results": "results removed", "uploads": "upload removed"}
"""The point of `Store.delete_prefix`, by the first part of the prefix."""


def point_of_put(key: str) -> str | None:
    """Return the point that is reached by writing an object."""
    folder, _, name = key.partition("/")
    if folder != "work":
        return STORE_PUTS.get(folder)
    if "/attempts-" in key:
        return "attempt counted"
    return "output's marker put" if re.search(r"-\d+\.\d+$", name) else "blob written"


def point_of_delete(keys: Sequence[str]) -> str | None:
    """Return the point that is reached by deleting objects."""
    if keys[0].startswith("results/"):
        return "stale results removed"
    if not keys[0].startswith("work/"):
        return None
    return "shared input dropped" if len(keys) > 1 else "input dropped"

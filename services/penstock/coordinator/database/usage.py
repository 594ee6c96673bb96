"""Usage: an owner's open jobs and images, and the images accepted today, for quotas."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, case, func, select, text

from penstock.common.model.jobs import OPEN_JOB_STATES, JobState
from penstock.coordinator.database.schema import jobs, usage
from penstock.coordinator.ports.repository import Usage

_DAY_SECS = 86_400

_ADD = text(
    "INSERT INTO usage (owner, day, images) VALUES (:owner, :day, :images)"
    " ON CONFLICT (owner) DO UPDATE SET day = excluded.day, images = excluded.images"
    " + CASE WHEN usage.day = excluded.day THEN usage.images ELSE 0 END"
)
_TODAY = (
    select(usage.c.images).where(usage.c.owner == bindparam("owner"), usage.c.day == bindparam("day")).scalar_subquery()
)
_RECEIVING = case((jobs.c.state == JobState.RECEIVING.value, jobs.c.total), else_=0)
_OPEN_IMAGES = jobs.c.pending + jobs.c.queued + jobs.c.running
# One statement, so that a job that is being accepted counts once: as receiving, or as accepted today.
_USAGE = select(
    func.count(),
    func.coalesce(func.sum(_OPEN_IMAGES), 0),
    func.coalesce(func.sum(_RECEIVING), 0),
    func.coalesce(_TODAY, 0),
).where(
    jobs.c.owner == bindparam("owner"),
    jobs.c.state.in_([state.value for state in (JobState.RECEIVING, *OPEN_JOB_STATES)]),
)


def add_to_usage(connection: Connection, owner: str, images: int, at: float) -> None:
    """Add images that are accepted in this transaction."""
    connection.execute(_ADD, {"owner": owner, "day": int(at // _DAY_SECS), "images": images})


def read_usage(connection: Connection, owner: str, at: float) -> Usage:
    """See Repository.usage."""
    row = connection.execute(_USAGE, {"owner": owner, "day": int(at // _DAY_SECS)}).one()
    open_jobs, open_images, receiving, today = (int(number) for number in row)
    return Usage(open_jobs, open_images, receiving + today)

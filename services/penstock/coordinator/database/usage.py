"""Usage: an owner's open jobs and images for quotas; and how many images of all jobs ended in each way."""

from collections import Counter
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select, text

from penstock.common.model.errors import ImageCode
from penstock.common.model.jobs import JobState
from penstock.coordinator.database.queries import IS_OPEN_OR_RECEIVING
from penstock.coordinator.database.schema import jobs, totals, usage
from penstock.coordinator.ports.repository import Usage

_DAY_SECS = 86_400
CANCELLED_SECS = 10.0
"""How long workers may still be busy with a job that was cancelled: until they look it up, and end a long step."""
_CODES = frozenset(ImageCode)

_ADD_USAGE = text(
    "INSERT INTO usage (owner, day, images) VALUES (:owner, :day, :images)"
    " ON CONFLICT (owner) DO UPDATE SET day = excluded.day, images = excluded.images"
    " + CASE WHEN usage.day = excluded.day THEN usage.images ELSE 0 END"
)
_TODAY = (
    select(usage.c.images).where(usage.c.owner == bindparam("owner"), usage.c.day == bindparam("day")).scalar_subquery()
)
_RECEIVING = case((jobs.c.state == JobState.RECEIVING.value, jobs.c.total), else_=0)
_OPEN_IMAGES = jobs.c.pending + jobs.c.queued + jobs.c.running
_MAY_BE_RUNNING = and_(
    jobs.c.state == JobState.CANCELLED.value,
    jobs.c.started_at.is_not(None),
    jobs.c.finished_at > bindparam("cancelled_since"),
)
_HELD_IMAGES = case((jobs.c.state == JobState.CANCELLED.value, jobs.c.cancelled), else_=_OPEN_IMAGES)
# One statement, so that a job that is being accepted counts once: as receiving, or as accepted today.
_USAGE = select(
    func.count(),
    func.coalesce(func.sum(_HELD_IMAGES), 0),
    func.coalesce(func.sum(_RECEIVING), 0),
    func.coalesce(_TODAY, 0),
).where(jobs.c.owner == bindparam("owner"), or_(IS_OPEN_OR_RECEIVING, _MAY_BE_RUNNING))
_ADD_TOTALS = text(
    "INSERT INTO totals (outcome, count) VALUES (:outcome, :count)"
    " ON CONFLICT (outcome) DO UPDATE SET count = totals.count + excluded.count"
)
_TOTALS = select(totals.c.outcome, totals.c.count).order_by(totals.c.outcome)


def add_to_usage(connection: Connection, owner: str, images: int, at: float) -> None:
    """Add images that are accepted in this transaction."""
    connection.execute(_ADD_USAGE, {"owner": owner, "day": int(at // _DAY_SECS), "images": images})


def read_usage(connection: Connection, owner: str, at: float) -> Usage:
    given = {"owner": owner, "day": int(at // _DAY_SECS), "cancelled_since": at - CANCELLED_SECS}
    row = connection.execute(_USAGE, given).one()
    open_jobs, open_images, receiving, today = (int(number) for number in row)
    return Usage(open_jobs, open_images, receiving + today)


def code_of(error: dict[str, Any] | None) -> str:
    """Return the code under which a failure is counted: one of ours, so that their number stays bounded.

    A user's own step may send any code, even `done`.
    """
    code = str((error or {}).get("code", ""))
    return code if code in _CODES else ImageCode.INTERNAL.value


def add_to_totals(connection: Connection, ended: Counter[str]) -> None:
    """Add the images that end in this transaction, by outcome.

    Every transaction shares these rows. So it takes them last, and in the order of outcomes: nothing waits for them
    longer than a commit takes, and no two transactions wait for each other.
    """
    added = [{"outcome": outcome, "count": count} for outcome, count in sorted(ended.items()) if count]
    if added:
        connection.execute(_ADD_TOTALS, added)


def read_totals(connection: Connection) -> dict[str, int]:
    return dict(connection.execute(_TOTALS).all())

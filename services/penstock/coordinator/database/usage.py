"""Usage: an owner's open jobs and images for quotas; and how many images of all jobs ended in each way."""

import time
from collections import Counter
from dataclasses import replace

from sqlalchemy import Connection, String, and_, bindparam, case, func, or_, select, text

from penstock.common.model.jobs import JobState
from penstock.coordinator.database.queries import IS_OPEN_OR_RECEIVING
from penstock.coordinator.database.schema import jobs, totals, usage
from penstock.coordinator.database.uploads import OPEN_BYTES
from penstock.coordinator.ports.repository import Scope, StoredBytes, Usage

_DAY_SECS = 86_400
CANCELLED_SECS = 10.0
"""How long workers may still be busy with a job that was cancelled: until they look it up, and end a long step."""

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
# Jobs may share an upload, which is stored once.
_BY_UPLOAD = (
    select(
        jobs.c.owner,
        func.count().label("jobs"),
        func.max(jobs.c.upload_bytes).label("upload_bytes"),
        func.sum(jobs.c.result_bytes).label("result_bytes"),
        func.min(jobs.c.expires_at).label("expires_at"),
    )
    .where(or_(bindparam("owner", type_=String).is_(None), jobs.c.owner == bindparam("owner", type_=String)))
    .group_by(jobs.c.owner, func.coalesce(jobs.c.upload, jobs.c.id))
    .subquery()
)
_BY_OWNER = select(
    _BY_UPLOAD.c.owner,
    func.sum(_BY_UPLOAD.c.jobs),
    func.sum(_BY_UPLOAD.c.upload_bytes),
    func.sum(_BY_UPLOAD.c.result_bytes),
    func.min(_BY_UPLOAD.c.expires_at),
).group_by(_BY_UPLOAD.c.owner)
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


def read_stored_bytes(connection: Connection, scope: Scope) -> list[StoredBytes]:
    found = {
        owner: StoredBytes(owner, int(count), int(upload_bytes), int(result_bytes), expires_at)
        for owner, count, upload_bytes, result_bytes, expires_at in connection.execute(
            _BY_OWNER, {"owner": scope.owner}
        )
    }
    for owner, size_bytes in connection.execute(OPEN_BYTES):
        if scope.includes(owner):
            stored = found.get(owner, StoredBytes(owner))
            found[owner] = replace(stored, upload_bytes=stored.upload_bytes + int(size_bytes))
    return [found[owner] for owner in sorted(found)]


def add_to_totals(connection: Connection, ended: Counter[str]) -> None:
    """Add the images that end in this transaction, by outcome.

    Every transaction shares these rows. So it takes them last, and in the order of outcomes: nothing waits for them
    longer than a commit takes, and no two transactions wait for each other.
    """
    added = [{"outcome": outcome, "count": count} for outcome, count in sorted(ended.items()) if count]
    if added:
        connection.execute(_ADD_TOTALS, added)


def count_unstored(connection: Connection, accepted: Counter[str], ended: Counter[str]) -> None:
    now = time.time()
    for owner, images in sorted(accepted.items()):
        if owner:
            add_to_usage(connection, owner, images, now)
    add_to_totals(connection, ended)


def read_totals(connection: Connection) -> dict[str, int]:
    return dict(connection.execute(_TOTALS).all())

"""A job ends, starts over or goes: cancel, retry and delete, and the pages in which their images follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, select, update

from penstock.common.model.jobs import TERMINAL_JOB_STATES, ImageState, JobState
from penstock.coordinator.database.backends.bulk import Among, WrittenState
from penstock.coordinator.database.job_counters import JobCounters, Tally, count_image
from penstock.coordinator.database.job_creation import drop_job
from penstock.coordinator.database.locking import open_ledger, save
from penstock.coordinator.database.queries import slices
from penstock.coordinator.database.rows import job_of, read_timings
from penstock.coordinator.database.schema import MAX_ID, deletions, images, jobs
from penstock.coordinator.database.totals import add_to_totals
from penstock.coordinator.ports.repository import ConflictError, ImageNotFailedError, Job, JobNotFoundError

IMAGES_PER_PAGE = 5_000

_OF_JOB = images.c.job == bindparam("number")
_AMONG = Among(images.c.id)
_TO_PENDING = update(images).values(state=ImageState.PENDING.value, error=None, failure_number=None)
_RETRY_NAMED = _TO_PENDING.where(_OF_JOB, _AMONG)
_RETRY_PAGE = _TO_PENDING.where(
    _OF_JOB, images.c.failure_number > bindparam("low"), images.c.failure_number <= bindparam("high")
)
_FAILED_NAMED = select(images.c.id, images.c.resume_step, images.c.timings).where(
    _OF_JOB, _AMONG, WrittenState() == ImageState.FAILED.value
)
_UNFINISHED_RETRIES = select(jobs.c.number).where(jobs.c.retry_floor > 0)
_FLOOR = select(jobs.c.retry_floor).where(jobs.c.number == bindparam("number")).with_for_update()
_SET_FLOOR = update(jobs).where(jobs.c.number == bindparam("job_number"))
_UNFINISHED_DELETIONS = select(deletions.c.number)
_END_OF_PAGE = select(images.c.id).where(_OF_JOB).order_by(images.c.id).limit(1).offset(IMAGES_PER_PAGE)
_DELETE_PAGE = delete(images).where(_OF_JOB, images.c.id < bindparam("end"))
_DELETE_REST = delete(images).where(_OF_JOB)
_DELETION_DONE = delete(deletions).where(deletions.c.number == bindparam("number"))


def cancel_job(connection: Connection, job: str) -> Job:
    """See Repository.cancel_job. One row changes: an image is cancelled by its job's state (rows.py)."""
    ledger = _visible(connection, job)
    if ledger.is_open:
        ledger.cancel()
        cancelled = save(connection, ledger)
        add_to_totals(connection, ledger.ended)
        return cancelled
    if ledger.state is not JobState.CANCELLED:
        raise ConflictError(f"job {job} is {ledger.state}; only an accepted or running one can be cancelled")
    return job_of(ledger.row)


def _visible(connection: Connection, job: str) -> JobCounters:
    ledger = open_ledger(connection, job)
    if ledger is None or ledger.state is JobState.RECEIVING:
        raise JobNotFoundError(job)
    return ledger


def retry_job(connection: Connection, job: str, named: Sequence[int] | None) -> tuple[Job, int, int]:
    """See Repository.retry_job; returns the job, how many, and its number.

    Where all are retried, their rows are still to follow: see `retry_page`.
    """
    ledger = _visible(connection, job)
    if ledger.state not in TERMINAL_JOB_STATES or ledger.state is JobState.CANCELLED:
        raise ConflictError(f"job {job} is {ledger.state}; only a succeeded, partial or failed one can be retried")
    count = _retry_all(ledger) if named is None else _retry_named(connection, ledger, sorted(set(named)))
    if not count:
        return job_of(ledger.row), 0, ledger.number
    ledger.reopen(count)
    return save(connection, ledger), count, ledger.number


def _retry_all(ledger: JobCounters) -> int:
    ledger.of_failed = [Tally() for _ in ledger.of_failed]
    ledger.retry_floor = ledger.failures_seen
    return ledger.counts[ImageState.FAILED]


def _retry_named(connection: Connection, ledger: JobCounters, named: Sequence[int]) -> int:
    missing = set(named)
    for page in slices([image for image in named if image <= MAX_ID]):
        which = {"number": ledger.number, "ids": page}
        for image, failing, timings in connection.execute(_FAILED_NAMED, which):
            missing.discard(image)
            count_image(ledger.of_failed, failing, read_timings(timings), sign=-1)
        connection.execute(_RETRY_NAMED, which)
    if missing:
        raise ImageNotFailedError(ledger.row["id"], min(missing))
    return len(named)


def delete_job(connection: Connection, job: str) -> tuple[Job, int]:
    """See Repository.delete_job; returns the job and its number. Its images are still to follow, see `delete_page`."""
    ledger = _visible(connection, job)
    if ledger.state not in TERMINAL_JOB_STATES:
        raise ConflictError(f"job {job} is {ledger.state}; only a job that has ended can be deleted")
    drop_job(connection, ledger.number)
    return job_of(ledger.row), ledger.number


def unfinished_retries(connection: Connection) -> Iterable[int]:
    """Return the numbers of jobs some of whose retried images are failed in their rows still."""
    return connection.execute(_UNFINISHED_RETRIES).scalars().all()


def retry_page(connection: Connection, number: int) -> bool:
    """Make one page of a job's retried images pending; return whether more may be left."""
    floor = connection.execute(_FLOOR, {"number": number}).scalar_one_or_none()
    if not floor:
        return False
    low = max(floor - IMAGES_PER_PAGE, 0)
    connection.execute(_RETRY_PAGE, {"number": number, "low": low, "high": floor})
    connection.execute(_SET_FLOOR, {"job_number": number, "retry_floor": low})
    return bool(low)


def unfinished_deletions(connection: Connection) -> Iterable[int]:
    """Return the numbers of jobs that are gone while some of their images are not."""
    return connection.execute(_UNFINISHED_DELETIONS).scalars().all()


def delete_page(connection: Connection, number: int) -> bool:
    """Remove one page of a gone job's images; return whether more are left."""
    end = connection.execute(_END_OF_PAGE, {"number": number}).scalar_one_or_none()
    if end is not None:
        connection.execute(_DELETE_PAGE, {"number": number, "end": end})
        return True
    connection.execute(_DELETE_REST, {"number": number})
    connection.execute(_DELETION_DONE, {"number": number})
    return False

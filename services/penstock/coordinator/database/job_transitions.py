"""Job transitions: cancel, retry and delete, and the pages in which images follow their job."""

from collections.abc import Iterable, Sequence

from sqlalchemy import BindParameter, Connection, bindparam, delete, select, update

from penstock.common.model.jobs import TERMINAL_JOB_STATES, ImageState, JobState
from penstock.coordinator.database.backends.bulk import Among, WrittenState
from penstock.coordinator.database.job_counters import JobCounters, count_image, lock_job, lock_jobs, save
from penstock.coordinator.database.job_creation import delete_row
from penstock.coordinator.database.queries import OF_JOB, slices
from penstock.coordinator.database.rows import job_of, read_timings
from penstock.coordinator.database.schema import MAX_ID, deletions, images, jobs, notices
from penstock.coordinator.database.usage import add_to_totals
from penstock.coordinator.ports.repository import ConflictError, ImageNotFailedError, Job, JobNotFoundError, StepTotals

IMAGES_PER_PAGE = 5_000

_AMONG = Among(images.c.id)
_TO_PENDING = update(images).values(state=ImageState.PENDING.value, error=None, failure_number=None)
_RETRY_NAMED = _TO_PENDING.where(OF_JOB, _AMONG)
_RETRY_PAGE = _TO_PENDING.where(
    OF_JOB, images.c.failure_number > bindparam("low"), images.c.failure_number <= bindparam("high")
)
_HAS_FAILED = WrittenState() == ImageState.FAILED.value
_FAILED_NAMED = select(images.c.id, images.c.resume_step, images.c.timings).where(OF_JOB, _AMONG, _HAS_FAILED)
_UNFINISHED_RETRIES = select(jobs.c.number).where(jobs.c.retry_floor > 0)
_FLOOR = select(jobs.c.retry_floor).where(jobs.c.number == bindparam("number")).with_for_update()
_SET_FLOOR = update(jobs).where(jobs.c.number == bindparam("job_number"))
_UNFINISHED_DELETIONS = select(deletions.c.number)
_END_OF_PAGE = select(images.c.id).where(OF_JOB).order_by(images.c.id).limit(1).offset(IMAGES_PER_PAGE)
_DELETE_PAGE = delete(images).where(OF_JOB, images.c.id < bindparam("end"))
_DELETE_REST = delete(images).where(OF_JOB)
_NUMBERS: BindParameter[int] = bindparam("numbers", expanding=True)
_DELETE_IMAGES = delete(images).where(images.c.job.in_(_NUMBERS))
_DELETE_WEBHOOK_EVENTS = delete(notices).where(notices.c.job.in_(_NUMBERS))
_DELETE_JOBS = delete(jobs).where(jobs.c.number.in_(_NUMBERS))
_DELETION_DONE = delete(deletions).where(deletions.c.number == bindparam("number"))


def cancel_job(connection: Connection, job: str) -> Job:
    """See Repository.cancel_job. Only the job's row changes, which overrides its images' (rows.py)."""
    counters = _lock_visible(connection, job)
    if counters.is_open:
        counters.cancel()
        cancelled = save(connection, counters)
        add_to_totals(connection, counters.ended)
        return cancelled
    if counters.state is not JobState.CANCELLED:
        raise ConflictError(f"job {job} is {counters.state}; only an accepted or running one can be cancelled")
    return job_of(counters.row)


def _lock_visible(connection: Connection, job: str) -> JobCounters:
    counters = lock_job(connection, job)
    if counters is None or counters.state is JobState.RECEIVING:
        raise JobNotFoundError(job)
    return counters


def retry_job(connection: Connection, job: str, named: Sequence[int] | None) -> tuple[Job, int, int]:
    """See Repository.retry_job; also returns the job's number.

    If all failed images are retried, the caller updates their rows by `retry_page`.
    """
    counters = _lock_visible(connection, job)
    if counters.state not in TERMINAL_JOB_STATES or counters.state is JobState.CANCELLED:
        raise ConflictError(f"job {job} is {counters.state}; only a succeeded, partial or failed one can be retried")
    count = _retry_all(counters) if named is None else _retry_some(connection, counters, sorted(set(named)))
    if not count:
        return job_of(counters.row), 0, counters.number
    counters.reopen(count)
    return save(connection, counters), count, counters.number


def _retry_all(counters: JobCounters) -> int:
    counters.failed_steps = [StepTotals() for _ in counters.failed_steps]
    counters.retry_floor = counters.failures_seen
    return counters.counts[ImageState.FAILED]


def _retry_some(connection: Connection, counters: JobCounters, named: Sequence[int]) -> int:
    missing = set(named)
    for page in slices([image for image in named if image <= MAX_ID]):
        which = {"number": counters.number, "ids": page}
        for image, failing, timings in connection.execute(_FAILED_NAMED, which):
            missing.discard(image)
            count_image(counters.failed_steps, failing, read_timings(timings), sign=-1)
        connection.execute(_RETRY_NAMED, which)
    if missing:
        raise ImageNotFailedError(counters.row["id"], min(missing))
    return len(named)


def delete_job(connection: Connection, job: str) -> tuple[Job, int]:
    """See Repository.delete_job; also returns the job's number. The caller deletes its images by `delete_page`."""
    counters = _lock_visible(connection, job)
    if counters.state not in TERMINAL_JOB_STATES:
        raise ConflictError(f"job {job} is {counters.state}; only a job that has ended can be deleted")
    delete_row(connection, counters.number)
    return job_of(counters.row), counters.number


def delete_ended(connection: Connection, ids: Sequence[str]) -> list[Job]:
    """See Repository.delete_ended."""
    ended = [counters for counters in lock_jobs(connection, ids).values() if counters.state in TERMINAL_JOB_STATES]
    numbers = {"numbers": [counters.number for counters in ended]}
    if ended:
        for statement in (_DELETE_IMAGES, _DELETE_WEBHOOK_EVENTS, _DELETE_JOBS):
            connection.execute(statement, numbers)
    return [job_of(counters.row) for counters in ended]


def unfinished_retries(connection: Connection) -> Iterable[int]:
    """Return the numbers of jobs with retried images whose rows still say failed."""
    return connection.execute(_UNFINISHED_RETRIES).scalars().all()


def retry_page(connection: Connection, number: int) -> bool:
    """Set a page of a job's retried images to pending; return whether more may be left."""
    floor = connection.execute(_FLOOR, {"number": number}).scalar_one_or_none()
    if not floor:
        return False
    low = max(floor - IMAGES_PER_PAGE, 0)
    connection.execute(_RETRY_PAGE, {"number": number, "low": low, "high": floor})
    connection.execute(_SET_FLOOR, {"job_number": number, "retry_floor": low})
    return bool(low)


def unfinished_deletions(connection: Connection) -> Iterable[int]:
    """Return the numbers of deleted jobs that still have images."""
    return connection.execute(_UNFINISHED_DELETIONS).scalars().all()


def delete_page(connection: Connection, number: int) -> bool:
    """Delete a page of a deleted job's images; return whether more are left."""
    end = connection.execute(_END_OF_PAGE, {"number": number}).scalar_one_or_none()
    if end is not None:
        connection.execute(_DELETE_PAGE, {"number": number, "end": end})
        return True
    connection.execute(_DELETE_REST, {"number": number})
    connection.execute(_DELETION_DONE, {"number": number})
    return False

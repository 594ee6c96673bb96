"""Job transitions: cancel, retry and delete, and the pages in which images follow their job."""

from collections.abc import Iterable, Sequence

from sqlalchemy import BindParameter, Boolean, Connection, RowMapping, bindparam, delete, exists, or_, select, update

from penstock.common.model.jobs import TERMINAL_JOB_STATES, ImageState, JobState
from penstock.coordinator.database.backends.bulk import Among, WrittenState
from penstock.coordinator.database.image_transitions import GROUPS_OF
from penstock.coordinator.database.job_counters import JobCounters, lock_job, lock_jobs, save
from penstock.coordinator.database.job_creation import delete_row
from penstock.coordinator.database.packs import delete_packs
from penstock.coordinator.database.queries import IS_OPEN_OR_RECEIVING, NO_FAILURE, OF_JOB, slices
from penstock.coordinator.database.rows import MAY_RETRY, WAITING, job_of, read_results, read_timings
from penstock.coordinator.database.schema import MAX_ID, deletions, images, jobs, notices
from penstock.coordinator.database.usage import add_to_totals
from penstock.coordinator.ports.repository import ConflictError, ImageNotFailedError, Job, JobNotFoundError

IMAGES_PER_PAGE = 5_000

_AMONG = Among(images.c.id)
_TO_PENDING = update(images).values(state=ImageState.PENDING.value, **NO_FAILURE)
_RETRY_NAMED = _TO_PENDING.where(OF_JOB, _AMONG)
_RETRY_PAGE = _TO_PENDING.where(
    OF_JOB,
    images.c.failure_number > bindparam("low"),
    images.c.failure_number <= bindparam("high"),
    or_(MAY_RETRY, bindparam("final", type_=Boolean)),
)
_HAS_FAILED = WrittenState() == ImageState.FAILED.value
_FAILED_NAMED = select(
    images.c.id, images.c.error_code, images.c.error_retry, images.c.resume_step, images.c.timings
).where(OF_JOB, _AMONG, _HAS_FAILED)
_MAY_BE_RETRIED = (images.c.id > bindparam("after"), or_(MAY_RETRY, bindparam("final", type_=Boolean)), _HAS_FAILED)
_FAILED = select(images.c.id).where(OF_JOB, *_MAY_BE_RETRIED).order_by(images.c.id).limit(IMAGES_PER_PAGE)
_FAILED_WITH_CODE = _FAILED.where(images.c.error_code == bindparam("code"))
_GROUPS = select(images).where(OF_JOB, _AMONG)
_REOPEN = update(images).where(OF_JOB, images.c.id == bindparam("group"))
_REOPEN = _REOPEN.values(
    state=WAITING,
    waits_for=images.c.waits_for + bindparam("more"),
    resume_step=bindparam("start"),
    resume_blob=None,
    resume_parts=0,
    timings=None,
    **NO_FAILURE,
)
_UNFINISHED_RETRIES = select(jobs.c.number).where(jobs.c.retry_floor > 0)
_FLOOR = select(jobs.c.retry_floor, jobs.c.retry_final).where(jobs.c.number == bindparam("number")).with_for_update()
_SET_FLOOR = update(jobs).where(jobs.c.number == bindparam("job_number"))
_UNFINISHED_DELETIONS = select(deletions.c.number)
_END_OF_PAGE = select(images.c.id).where(OF_JOB).order_by(images.c.id).limit(1).offset(IMAGES_PER_PAGE)
_DELETE_PAGE = delete(images).where(OF_JOB, images.c.id < bindparam("end"))
_DELETE_REST = delete(images).where(OF_JOB)
_NUMBERS: BindParameter[int] = bindparam("numbers", expanding=True)
_DELETE_IMAGES = delete(images).where(images.c.job.in_(_NUMBERS))
_DELETE_WEBHOOK_EVENTS = delete(notices).where(notices.c.job.in_(_NUMBERS))
_DELETE_JOBS = delete(jobs).where(jobs.c.number.in_(_NUMBERS))
_JOB = jobs.alias()
_IS_READ = exists().where(jobs.c.source_job == _JOB.c.id, IS_OPEN_OR_RECEIVING)
_EXPIRED = select(_JOB.c.id).where(_JOB.c.expires_at <= bindparam("at"), ~_IS_READ).order_by(_JOB.c.expires_at).limit(1)
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


def retry_job(
    connection: Connection, job: str, named: Sequence[int] | None, everything: bool, code: str | None
) -> tuple[Job, int, int]:
    """See Repository.retry_job; also returns the job's number.

    If neither images nor a code are given, the caller updates the images' rows by `retry_page`. Of a job with groups,
    they are updated here, because what its groups wait for depends on which images are retried.
    """
    counters = _lock_visible(connection, job)
    if counters.state not in TERMINAL_JOB_STATES or counters.state is JobState.CANCELLED:
        raise ConflictError(f"job {job} is {counters.state}; only a succeeded, partial or failed one can be retried")
    if code is not None or (named is None and counters.layout.gather):
        count = _retry_pages(connection, counters, code, everything)
    elif named is not None:
        count = _retry_some(connection, counters, sorted(set(named)))
    else:
        count = _retry_all(counters, everything)
    if not count:
        return job_of(counters.row), 0, counters.number
    counters.reopen(count)
    return save(connection, counters), count, counters.number


def _retry_all(counters: JobCounters, everything: bool) -> int:
    counters.retry_floor = counters.failures_seen
    counters.retry_final = everything
    return counters.uncount_failures(final=everything)


def _retry_pages(connection: Connection, counters: JobCounters, code: str | None, everything: bool) -> int:
    """Retry all failed images page by page, or those with a code; return how many."""
    query = _FAILED if code is None else _FAILED_WITH_CODE
    count, which = 0, {"number": counters.number, "code": code, "after": -1, "final": everything}
    while page := connection.execute(query, which).scalars().all():
        count += _retry_some(connection, counters, page)
        which["after"] = page[-1]
    return count


def _retry_some(connection: Connection, counters: JobCounters, named: Sequence[int]) -> int:
    """Retry failed images, and run their groups again; return how many."""
    is_group, reopened = counters.layout.is_group, 0
    missing = set(named)
    # Groups first: once one of their images is retried, they have not failed any more.
    for page in slices(sorted((image for image in named if image <= MAX_ID), key=is_group, reverse=True)):
        which = {"number": counters.number, "ids": page}
        for image, code, retry, failing, timings in connection.execute(_FAILED_NAMED, which):
            missing.discard(image)
            counters.uncount_failure(image, code, retry, failing, read_timings(timings))
        connection.execute(_RETRY_NAMED, which)
        if counters.layout.gather:
            counters.open_groups += sum(map(is_group, page))
            reopened += _reopen_groups(connection, counters, page)
    if missing:
        raise ImageNotFailedError(counters.row["id"], min(missing))
    return len(named) + reopened


def _reopen_groups(connection: Connection, counters: JobCounters, retried: Sequence[int]) -> int:
    """Make the groups of retried images wait for them; return how many of these groups had ended.

    Their earlier results stay in their rows as stale ones until they end again.
    """
    number, layout, ended = counters.number, counters.layout, 0
    assert layout.gather is not None
    found = connection.execute(GROUPS_OF, {"number": number, "ids": retried})
    counts: dict[int, int] = {group: count for group, count in found}  # noqa: C416 - rows are no tuples for mypy
    for page in slices(sorted(counts)):
        for row in connection.execute(_GROUPS, {"number": number, "ids": page}).mappings():
            counters.waiting_groups += row["state"] != WAITING
            if row["state"] in (ImageState.FAILED, ImageState.DONE):
                _uncount_group(counters, row)
                ended += 1
        changes = {"number": number, "start": layout.gather.start}
        connection.execute(_REOPEN, [{**changes, "group": group, "more": counts[group]} for group in page])
    return ended


def _uncount_group(counters: JobCounters, row: RowMapping) -> None:
    """Set a group that had ended to pending in a job's counts."""
    timings = read_timings(row["timings"])
    if row["state"] == ImageState.DONE:
        sizes = (result.size for result in read_results(row["results"]) if "://" not in result.key)
        counters.uncount_done(row["id"], timings, sum(sizes))
        counters.move(ImageState.DONE, ImageState.FAILED)  # from which `reopen` moves it on
    else:
        counters.uncount_failure(row["id"], row["error_code"], row["error_retry"], row["resume_step"], timings)
    counters.open_groups += 1


def delete_job(connection: Connection, job: str) -> tuple[Job, int]:
    """See Repository.delete_job; also returns the job's number. The caller deletes its images by `delete_page`."""
    counters = _lock_visible(connection, job)
    if counters.state not in TERMINAL_JOB_STATES:
        raise ConflictError(f"job {job} is {counters.state}; only a job that has ended can be deleted")
    delete_row(connection, counters.number)
    return job_of(counters.row), counters.number


def expire_job(connection: Connection, at: float) -> tuple[Job, int] | None:
    """See Repository.expire_job; also returns the job's number. The caller deletes its images by `delete_page`."""
    expired = connection.execute(_EXPIRED, {"at": at}).scalar_one_or_none()
    counters = None if expired is None else lock_job(connection, expired)
    if counters is None or counters.expires_at is None:  # deleted or retried meanwhile
        return None
    delete_row(connection, counters.number)
    return job_of(counters.row), counters.number


def delete_ended(connection: Connection, ids: Sequence[str]) -> list[Job]:
    """See Repository.delete_ended."""
    ended = [counters for counters in lock_jobs(connection, ids).values() if counters.state in TERMINAL_JOB_STATES]
    numbers = {"numbers": [counters.number for counters in ended]}
    if ended:
        delete_packs(connection, *numbers["numbers"])
        for statement in (_DELETE_IMAGES, _DELETE_WEBHOOK_EVENTS, _DELETE_JOBS):
            connection.execute(statement, numbers)
    return [job_of(counters.row) for counters in ended]


def unfinished_retries(connection: Connection) -> Iterable[int]:
    """Return the numbers of jobs with retried images whose rows still say failed."""
    return connection.execute(_UNFINISHED_RETRIES).scalars().all()


def retry_page(connection: Connection, number: int) -> bool:
    """Set a page of a job's retried images to pending; return whether more may be left."""
    row = connection.execute(_FLOOR, {"number": number}).one_or_none()
    if row is None or not row.retry_floor:
        return False
    low = max(row.retry_floor - IMAGES_PER_PAGE, 0)
    which = {"number": number, "low": low, "high": row.retry_floor, "final": row.retry_final}
    connection.execute(_RETRY_PAGE, which)
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

"""Queries: reads of jobs and images. None of them counts images, because the job's row has the counts."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar, Unpack

from sqlalchemy import BigInteger, Connection, Select, bindparam, false, func, or_, select

from penstock.common.model.jobs import OPEN_JOB_STATES, ImageState, JobState
from penstock.coordinator.database.rows import StateOverlay, job_of
from penstock.coordinator.database.schema import images, job_labels, jobs
from penstock.coordinator.ports.repository import Image, Job, JobFilters, Scope

IDS_PER_STATEMENT = 1_000
"""Values in one `IN (…)`: far below every database's limit of parameters."""

# A cursor may have a larger number than any id; PostgreSQL has to compare it nevertheless.
_AFTER = bindparam("after", type_=BigInteger)
_VISIBLE = jobs.c.state != JobState.RECEIVING.value
IS_OPEN = jobs.c.state.in_([state.value for state in OPEN_JOB_STATES])
IS_OPEN_OR_RECEIVING = jobs.c.state.in_([state.value for state in (JobState.RECEIVING, *OPEN_JOB_STATES)])
OF_JOB = images.c.job == bindparam("number")
_BY_ID = select(jobs).where(jobs.c.id == bindparam("job"), _VISIBLE)
_BY_KEY = select(jobs).where(jobs.c.idempotency_key == bindparam("key"))
_OVERLAY = select(jobs.c.number, jobs.c.state, jobs.c.retry_floor).where(jobs.c.id == bindparam("job"), _VISIBLE)
_DISPATCHABLE = select(jobs).where(IS_OPEN, jobs.c.pending > 0).order_by(jobs.c.priority.desc(), jobs.c.id)
_OPEN_JOBS = select(jobs).where(IS_OPEN).order_by(jobs.c.id)
_COUNT_OPEN = select(func.count()).select_from(jobs).where(IS_OPEN_OR_RECEIVING)
_COUNT_BY_STATE = select(jobs.c.state, func.count()).group_by(jobs.c.state)
_IMAGE = select(images).where(OF_JOB, images.c.id == bindparam("image", type_=BigInteger))
_IMAGE_BY_NAME = select(images).where(OF_JOB, images.c.name == bindparam("name"))
_IMAGE_BY_STEM = select(images).where(OF_JOB, images.c.stem == bindparam("stem"))
_NUMBER = images.c.failure_number
_IMAGES = select(images).where(OF_JOB, images.c.id > _AFTER).order_by(images.c.id).limit(bindparam("limit"))
_FAILURES = select(images).where(OF_JOB, _NUMBER > _AFTER).order_by(_NUMBER).limit(bindparam("limit"))
Item = TypeVar("Item")


def slices(items: Sequence[Item], size: int = IDS_PER_STATEMENT) -> Iterator[Sequence[Item]]:
    """Yield the items in order, at most `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def get_job(connection: Connection, job: str, scope: Scope) -> Job | None:
    row = connection.execute(_BY_ID, {"job": job}).mappings().one_or_none()
    return job_of(row) if row is not None and scope.includes(row["owner"]) else None


def find_by_key(connection: Connection, idempotency_key: str) -> Job | None:
    row = connection.execute(_BY_KEY, {"key": idempotency_key}).mappings().one_or_none()
    return job_of(row) if row is not None else None


def list_jobs(
    connection: Connection,
    scope: Scope,
    *,
    limit: int,
    before: str | None = None,
    **filters: Unpack[JobFilters],
) -> list[Job]:
    query = _filter(select(jobs), scope, **filters).limit(limit)
    ids = (
        jobs.c.id if filters.get("label") is None else job_labels.c.job
    )  # the index by label has the jobs in this order
    if before is not None:
        query = query.where(ids < before)
    return _jobs(connection, query.order_by(ids.desc()))


def count_found_jobs(connection: Connection, scope: Scope, **filters: Unpack[JobFilters]) -> int:
    query = _filter(select(func.count()).select_from(jobs), scope, **filters)
    count: int = connection.execute(query).scalar_one()
    return count


def _filter(
    query: Select[Any],
    scope: Scope,
    *,
    state: JobState | None = None,
    label: tuple[str, str] | None = None,
    search: str = "",
) -> Select[Any]:
    query = query.where(_VISIBLE)
    if label is not None:
        query = query.join(job_labels, job_labels.c.job == jobs.c.id)
    if "\0" in "".join((search, *(label or ()))):  # see _one_image
        return query.where(false())
    if label is not None:
        query = query.where(job_labels.c.key == label[0], job_labels.c.value == label[1])
    if state is not None:
        query = query.where(jobs.c.state == state.value)
    if scope.owner is not None:
        query = query.where(jobs.c.owner == scope.owner)
    if search:
        by_name = func.lower(jobs.c.name).contains(search.lower(), autoescape=True)
        query = query.where(or_(by_name, jobs.c.id.startswith(search, autoescape=True)))
    return query


def count_open_jobs(connection: Connection) -> int:
    return connection.execute(_COUNT_OPEN).scalar_one()


def count_jobs(connection: Connection) -> dict[JobState, int]:
    return {JobState(state): count for state, count in connection.execute(_COUNT_BY_STATE)}


def dispatchable(connection: Connection) -> list[Job]:
    return _jobs(connection, _DISPATCHABLE)


def open_jobs(connection: Connection) -> list[Job]:
    return _jobs(connection, _OPEN_JOBS)


def _jobs(connection: Connection, query: Select[tuple[object, ...]]) -> list[Job]:
    return [job_of(row) for row in connection.execute(query).mappings()]


def get_image(connection: Connection, job: str, image: int) -> Image | None:
    return _one_image(connection, job, _IMAGE, {"image": image})


def image_by_name(connection: Connection, job: str, name: str) -> Image | None:
    return _one_image(connection, job, _IMAGE_BY_NAME, {"name": name})


def image_by_stem(connection: Connection, job: str, stem: str) -> Image | None:
    return _one_image(connection, job, _IMAGE_BY_STEM, {"stem": stem})


def _one_image(
    connection: Connection, job: str, query: Select[tuple[object, ...]], which: dict[str, object]
) -> Image | None:
    overlay = _overlay(connection, job)
    if overlay is None or "\0" in str(*which.values()):  # PostgreSQL's text can't have NUL, and a query with one fails
        return None
    row = connection.execute(query, {"number": overlay.number, **which}).mappings().one_or_none()
    return overlay.image(row) if row is not None else None


def _overlay(connection: Connection, job: str) -> StateOverlay | None:
    row = connection.execute(_OVERLAY, {"job": job}).mappings().one_or_none()
    return StateOverlay.of(row) if row is not None else None


def list_images(
    connection: Connection, job: str, *, state: ImageState | None = None, after: int = -1, limit: int
) -> list[Image]:
    overlay = _overlay(connection, job)
    if overlay is None:
        return []
    if state is not None:
        return images_in_states(connection, overlay, [state], after, limit)
    return _page(connection, overlay, _IMAGES, after, limit)


def in_flight(connection: Connection, job: str, limit: int) -> list[Image]:
    overlay = _overlay(connection, job)
    if overlay is None:
        return []
    return images_in_states(connection, overlay, (ImageState.QUEUED, ImageState.RUNNING), -1, limit)


def images_in_states(
    connection: Connection, overlay: StateOverlay, states: Iterable[ImageState], after: int, limit: int
) -> list[Image]:
    """Return the first images in one of the states with a greater id than `after`.

    Each condition is a query of its own, because no index has rows in two states in the order of their ids.
    """
    conditions = [condition for state in states for condition in overlay.conditions(state)]
    pages = (_page(connection, overlay, _IMAGES.where(condition), after, limit) for condition in conditions)
    return sorted(chain.from_iterable(pages), key=lambda image: image.id)[:limit]


def _page(
    connection: Connection, overlay: StateOverlay, query: Select[tuple[object, ...]], after: int, limit: int
) -> list[Image]:
    given = {"number": overlay.number, "after": after, "limit": limit}
    return [overlay.image(row) for row in connection.execute(query, given).mappings()]


def list_failures(connection: Connection, job: str, *, after: int, limit: int) -> list[Image]:
    overlay = _overlay(connection, job)
    if overlay is None:
        return []
    return _page(connection, overlay, _FAILURES, max(after, overlay.retry_floor), limit)

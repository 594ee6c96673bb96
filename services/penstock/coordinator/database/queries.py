"""Queries: reads of jobs and images. None of them counts images, because the job's row has the counts."""

import heapq
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from operator import attrgetter
from typing import Any, TypeVar, Unpack

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    false,
    func,
    or_,
    select,
    true,
)

from penstock.common.model.jobs import OPEN_JOB_STATES, ImageState, JobState
from penstock.coordinator.database.backends.bulk import Among, StoredSize
from penstock.coordinator.database.packs import find_packed, packed_images
from penstock.coordinator.database.rows import StateOverlay, job_of
from penstock.coordinator.database.schema import images, job_labels, jobs
from penstock.coordinator.ports.repository import TRANSIENT, Image, Job, JobFilters, PlacedImages, Scope

IDS_PER_STATEMENT = 1_000
"""Values in one `IN (…)`: far below every database's limit of parameters."""

PAGE_BYTES = 1024 * 1024
"""Most that the results and regions of several images in one page have in the database."""

# A cursor may have a larger number than any id; PostgreSQL has to compare it nevertheless.
_AFTER = bindparam("after", type_=BigInteger)
_VISIBLE = jobs.c.state != JobState.RECEIVING.value
IS_OPEN = jobs.c.state.in_([state.value for state in OPEN_JOB_STATES])
IS_OPEN_OR_RECEIVING = jobs.c.state.in_([state.value for state in (JobState.RECEIVING, *OPEN_JOB_STATES)])
OF_JOB = images.c.job == bindparam("number")
_BY_ID = select(jobs).where(jobs.c.id == bindparam("job"), _VISIBLE)
_BY_KEY = select(jobs).where(jobs.c.idempotency_key == bindparam("key"))
_OVERLAY = select(jobs.c.number, jobs.c.state, jobs.c.retry_floor, jobs.c.retry_final, jobs.c.packed).where(
    jobs.c.id == bindparam("job"), _VISIBLE
)
_DISPATCHABLE = (
    select(jobs).where(IS_OPEN, jobs.c.pending > jobs.c.waiting_groups).order_by(jobs.c.priority.desc(), jobs.c.id)
)
_OPEN_JOBS = select(jobs).where(IS_OPEN).order_by(jobs.c.id)
_COUNT_OPEN = select(func.count()).select_from(jobs).where(IS_OPEN_OR_RECEIVING)
_COUNT_BY_STATE = select(jobs.c.state, func.count()).group_by(jobs.c.state)
_IMAGE = select(images).where(OF_JOB, images.c.id == bindparam("id", type_=BigInteger))
_IMAGE_BY_NAME = select(images).where(OF_JOB, images.c.name == bindparam("name"))
_IMAGE_BY_STEM = select(images).where(OF_JOB, images.c.stem == bindparam("stem"))
_ID, _NUMBER = images.c.id, images.c.failure_number
_LAST = bindparam("last", type_=BigInteger)
_LIMIT = bindparam("limit", type_=Integer)
_IN_FLIGHT = select(images.c.id, images.c.resume_step).where(OF_JOB).order_by(images.c.id)
_SIZE = StoredSize(images.c.results) + StoredSize(images.c.regions)
_MEMBERS = (OF_JOB, images.c.group_id == bindparam("group"), images.c.state == ImageState.DONE.value)
_NAME, _AFTER_NAME, _LAST_NAME = images.c.name, bindparam("after", type_=Text), bindparam("last", type_=Text)
_MEMBER_SIZES = select(_NAME, _SIZE).where(*_MEMBERS, _NAME > _AFTER_NAME).order_by(_NAME).limit(_LIMIT)
_MEMBER_PAGE = select(images).where(*_MEMBERS, _NAME.between(_AFTER_NAME, _LAST_NAME), _NAME != _AFTER_NAME)
_MEMBER_PAGE = _MEMBER_PAGE.order_by(_NAME)
_HAS_PLACE = images.c.longitude.is_not(None)
_EXTENT = select(
    func.count().label("images"),
    func.min(images.c.longitude).label("west"),
    func.max(images.c.longitude).label("east"),
    func.min(images.c.latitude).label("south"),
    func.max(images.c.latitude).label("north"),
).where(OF_JOB, _HAS_PLACE)
# Both numbers are positive, so that the cast rounds down; PostgreSQL would round to the nearest.
_COLUMN, _ROW = (
    cast(func.floor((degrees - bindparam(edge, type_=Double)) / bindparam("size", type_=Double)), Integer)
    for degrees, edge in ((images.c.longitude, "west"), (images.c.latitude, "south"))
)
_CELLS = (
    select(func.min(images.c.id).label("image"), func.count().label("images"))
    .where(OF_JOB, _HAS_PLACE)
    .group_by(_COLUMN, _ROW)
)
_PLACES = select(images.c.id, images.c.longitude, images.c.latitude).where(OF_JOB, Among(images.c.id))
_MIN_DEGREES = 0.000_001
"""Closer images count as taken at the same place: 10 cm."""
_IS_LASTING = jobs.c.document.not_like(f"%{json.dumps(TRANSIENT)}: true%")
"""Jobs other than those of requests that are being answered. Users cannot write this into a document."""
NO_FAILURE: dict[str, None] = dict.fromkeys(("error", "error_code", "error_retry", "failure_number"))
"""Columns of an image that has not failed, or not yet again."""
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
    elif not search:
        query = query.where(_IS_LASTING)
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
    return _one_image(connection, job, _IMAGE, id=image)


def image_by_name(connection: Connection, job: str, name: str) -> Image | None:
    return _one_image(connection, job, _IMAGE_BY_NAME, name=name)


def image_by_stem(connection: Connection, job: str, stem: str) -> Image | None:
    return _one_image(connection, job, _IMAGE_BY_STEM, stem=stem)


def _one_image(connection: Connection, job: str, query: Select[tuple[object, ...]], **which: object) -> Image | None:
    overlay = _overlay(connection, job)
    if overlay is None or "\0" in str(*which.values()):  # PostgreSQL's text can't have NUL, and a query with one fails
        return None
    row = connection.execute(query, {"number": overlay.number, **which}).mappings().one_or_none()
    if row is None and overlay.packed:
        return find_packed(connection, overlay.number, overlay.state_of_packed, **which)
    return overlay.image(row) if row is not None else None


def _overlay(connection: Connection, job: str) -> StateOverlay | None:
    row = connection.execute(_OVERLAY, {"job": job}).mappings().one_or_none()
    return StateOverlay.of(row) if row is not None else None


def list_images(
    connection: Connection,
    job: str,
    *,
    state: ImageState | None = None,
    code: str | None = None,
    after: int = -1,
    limit: int,
) -> list[Image]:
    overlay = _overlay(connection, job)
    if overlay is None or "\0" in (code or ""):  # see _one_image
        return []
    if code is not None and state not in (None, ImageState.FAILED):
        return []
    conditions: list[ColumnElement[bool]] = [true()]
    if code is not None:
        conditions = [(images.c.error_code == code) & each for each in overlay.conditions(ImageState.FAILED)]
    elif state is not None:
        conditions = overlay.conditions(state)
    packed: list[Image] = []
    if overlay.packed and code is None and state in (None, overlay.state_of_packed):
        packed = packed_images(connection, overlay.number, overlay.state_of_packed, after, limit)
    return _page(connection, overlay, _ID, conditions, after, limit, packed)


def list_places(connection: Connection, job: str, most: int) -> list[PlacedImages]:
    overlay = _overlay(connection, job)
    if overlay is None:
        return []
    where = {"number": overlay.number}
    extent = connection.execute(_EXTENT, where).one()
    if not extent.images:
        return []
    # Squares, of which no more than `most` cover the extent.
    side = max(extent.east - extent.west, extent.north - extent.south) / math.isqrt(most) or 1.0
    size = _MIN_DEGREES if extent.images <= most else max(_MIN_DEGREES, side * 1.001)
    given = {**where, "size": size, "west": extent.west, "south": extent.south}
    cells = connection.execute(_CELLS, given).all()
    counts = {cell.image: cell.images for cell in cells}
    places = [row for page in slices([*counts]) for row in connection.execute(_PLACES, {**where, "ids": page})]
    return sorted(PlacedImages(image, longitude, latitude, counts[image]) for image, longitude, latitude in places)


def list_failures(connection: Connection, job: str, *, after: int, limit: int) -> list[Image]:
    overlay = _overlay(connection, job)
    if overlay is None:
        return []
    return _page(connection, overlay, _NUMBER, overlay.conditions(ImageState.FAILED), after, limit)


def list_members(connection: Connection, job: str, group: int, *, after: str = "", limit: int) -> list[Image]:
    overlay = _overlay(connection, job)
    if overlay is None:
        return []
    given = {"number": overlay.number, "group": group, "after": after, "limit": limit}
    last = _last_of_page(connection.execute(_MEMBER_SIZES, given))
    if last is None:
        return []
    page = connection.execute(_MEMBER_PAGE, {**given, "last": last}).mappings()
    return [overlay.image(row) for row in page]


def dispatchable_images(connection: Connection, overlay: StateOverlay, limit: int) -> list[Image]:
    """Return the first images that can be dispatched: up to `limit`, fewer if they are large."""
    return _page(connection, overlay, _ID, overlay.dispatchable(), -1, limit)


def _page(
    connection: Connection,
    overlay: StateOverlay,
    position: Column[int],
    conditions: Iterable[ColumnElement[bool]],
    after: int,
    limit: int,
    packed: Sequence[Image] = (),
) -> list[Image]:
    """Return the first images for which a condition holds, in the order of a column with values greater than `after`.

    `packed` are further ones that have no rows, by id.

    Their sizes are read first. Each condition is a query of its own, because no index has rows in two states in order.
    """
    given = {"number": overlay.number, "after": after, "limit": limit}
    which = [(OF_JOB, position > _AFTER, condition) for condition in conditions]
    with ExitStack() as results:
        sizes = [
            results.enter_context(
                connection.execute(select(position, _SIZE).where(*each).order_by(position).limit(_LIMIT), given)
            )
            for each in which
        ]
        last = _last_of_page(islice(heapq.merge(*sizes, ((image.id, 0) for image in packed)), limit))
    if last is None:
        return []
    pages = (
        connection.execute(select(images).where(*each, position <= _LAST).order_by(position), {**given, "last": last})
        for each in which
    )
    rows = sorted(chain.from_iterable(page.mappings() for page in pages), key=lambda row: row[position])
    found = [overlay.image(row) for row in rows]
    return (
        [*heapq.merge(found, (image for image in packed if image.id <= last), key=attrgetter("id"))]
        if packed
        else found
    )


def _last_of_page(sizes: Iterable[tuple[Item, int]]) -> Item | None:
    """Return the last position whose image still fits into a page; the first one always does."""
    last = None
    total = 0
    for position, size in sizes:
        total += size
        if last is not None and total > PAGE_BYTES:
            break
        last = position
    return last


def in_flight(connection: Connection, job: str) -> dict[int, int]:
    overlay = _overlay(connection, job)
    if overlay is None:
        return {}
    states = (ImageState.QUEUED, ImageState.RUNNING)
    conditions = (condition for state in states for condition in overlay.conditions(state))
    found = (connection.execute(_IN_FLIGHT.where(condition), {"number": overlay.number}) for condition in conditions)
    return dict(sorted((image, step) for image, step in chain.from_iterable(found)))

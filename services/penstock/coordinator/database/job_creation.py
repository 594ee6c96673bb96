"""Job creation: a job's row, its images in batches, and its acceptance or removal."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.database.backends.bulk import inserter
from penstock.coordinator.database.backends.engine import first_line
from penstock.coordinator.database.job_counters import Failed, JobCounters, lock_job, save
from penstock.coordinator.database.outbox import add_webhook_event, delete_webhook_events
from penstock.coordinator.database.packs import delete_packs, may_be_packed, pack
from penstock.coordinator.database.rows import PLAIN_COLUMNS, STEP_TOTALS, WAITING, job_of, write_step_totals
from penstock.coordinator.database.schema import deletions, images, job_labels, jobs
from penstock.coordinator.database.uploads import lock_upload
from penstock.coordinator.database.usage import add_to_totals, add_to_usage
from penstock.coordinator.ports.outcomes import code_of
from penstock.coordinator.ports.repository import (
    SKIPPED,
    ConflictError,
    DuplicateImageError,
    Image,
    Job,
    JobNotFoundError,
    StepTotals,
)

IMAGES_PER_BATCH = 5_000
_REGIONS_PER_BATCH = 8_000_000
"""Characters of JSON, so that a batch stays small in memory."""

_INSERT_JOB = insert(jobs)
_SET_DOCUMENT = update(jobs).where(jobs.c.number == bindparam("job_number"))
_INSERT_LABELS = insert(job_labels)
_INSERT_IMAGES = insert(images)
_INSERT_DELETION = insert(deletions)
_DELETE_JOB = delete(jobs).where(jobs.c.number == bindparam("job_number"))
_COLUMNS = ("job", "id", "name", "stem", "ref", "state", "size", "error", *Failed._fields, "resume_step")
_NOT_FAILED = (None,) * len(Failed._fields)
_RARE_COLUMNS = ("regions", "labels", "group_id", "waits_for")
_STATES = {state: state.value for state in ImageState}  # a lookup is ten times as fast as an enum's property
_RECEIVING = select(jobs).where(jobs.c.state == JobState.RECEIVING.value).order_by(jobs.c.id).with_for_update()


def create_job(connection: Connection, job: Job) -> None:
    row = _new_row(connection, job)
    with _only_job(job):
        connection.execute(_INSERT_JOB, row)
    if job.labels:
        connection.execute(_INSERT_LABELS, _label_rows(job))


def create_accepted(connection: Connection, job: Job, batch: Sequence[Image]) -> Job:
    return _create(connection, job, batch, JobCounters.accept)


def create_dispatched(connection: Connection, job: Job, batch: Sequence[Image]) -> Job:
    def start(counters: JobCounters) -> None:
        counters.accept()
        counters.start()

    return _create(connection, job, [replace(image, state=ImageState.QUEUED) for image in batch], start)


def _create(connection: Connection, job: Job, batch: Sequence[Image], accept: Callable[[JobCounters], None]) -> Job:
    """Create a job with its images. They are counted before the row is inserted, which then never changes here."""
    row = _new_row(connection, job)
    counters = JobCounters({**row, "number": 0})
    columns = (*_COLUMNS, *_RARE_COLUMNS)
    rows = [dict(zip(columns, (*_image_row(counters, image), *_rare(image)), strict=True)) for image in batch]
    accept(counters)
    row |= counters.columns()
    with _only_job(job):
        inserted = connection.execute(_INSERT_JOB, row).inserted_primary_key
    assert inserted is not None
    number = inserted[0]
    if job.labels:
        connection.execute(_INSERT_LABELS, _label_rows(job))
    with _distinct_images(job.id):
        connection.execute(_INSERT_IMAGES, [{**each, "job": number} for each in rows])
    accepted = job_of(row)
    if counters.has_ended:
        add_webhook_event(connection, accepted, number)
    _count_accepted(connection, accepted, counters)
    return accepted


@contextmanager
def _only_job(job: Job) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(f"job {job.id} or idempotency key {job.idempotency_key!r} exists already") from error


@contextmanager
def _distinct_images(job: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        message = f"two images of job {job} have the same id, name or stem: {first_line(error)}"
        raise DuplicateImageError(message) from error


def _label_rows(job: Job) -> list[dict[str, str]]:
    return [{"job": job.id, "key": key, "value": value} for key, value in job.labels.items()]


def _new_row(connection: Connection, job: Job) -> dict[str, Any]:
    """Return the row of a job that is being received. Its upload, if it has one, is locked: no file is added then."""
    no_totals = write_step_totals(StepTotals() for _ in job.plan.steps)
    upload = None if job.upload is None else lock_upload(connection, job.upload)
    return {
        **{name: getattr(job, name) for name in PLAIN_COLUMNS},
        "state": JobState.RECEIVING.value,
        "plan": json.dumps(job.plan.operations),
        "document": json.dumps(job.document),
        "labels": json.dumps(job.labels),
        **dict.fromkeys(STEP_TOTALS, no_totals),
        "retry_floor": 0,
        "retry_final": False,
        "failures": "{}",
        "throughput": "",
        "arrived_failed": "{}",
        "upload_bytes": job.upload_bytes if upload is None else upload["size"],
    }


def batches(added: Iterable[Image]) -> Iterator[list[Image]]:
    """Yield images in lists of up to `IMAGES_PER_BATCH`, fewer if they have many regions."""
    batch: list[Image] = []
    characters = 0
    for image in added:
        batch.append(image)
        if image.regions is not None:
            characters += len(image.regions)
        if len(batch) == IMAGES_PER_BATCH or characters > _REGIONS_PER_BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def add_images(connection: Connection, job: str, batch: Sequence[Image], *, packing: bool = False) -> None:
    """Append one batch of images, with `packing` those that may be packed without rows; see Repository.add_images."""
    counters = _lock_receiving(connection, job)
    if packing:
        packed = [image for image in batch if may_be_packed(image)]
        if packed:
            pack(connection, counters.number, packed)
            counters.counts[ImageState.PENDING] += len(packed)
            batch = [] if len(packed) == len(batch) else [image for image in batch if not may_be_packed(image)]
    if batch:
        columns, rows = _image_rows(counters, batch)
        with _distinct_images(job):
            inserter(connection, images, columns)(rows)
    save(connection, counters)


def _image_rows(counters: JobCounters, batch: Sequence[Image]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Count images; return the columns that they need, and their rows."""
    rows = [_image_row(counters, image) for image in batch]
    columns: tuple[str, ...] = _COLUMNS
    if counters.layout.gather or any(image.regions is not None or image.labels is not None for image in batch):
        rows = [(*row, *_rare(image)) for row, image in zip(rows, batch, strict=True)]
        columns = (*_COLUMNS, *_RARE_COLUMNS)
    return columns, rows


def _rare(image: Image) -> tuple[Any, ...]:
    """Return the columns of an image that most images do not have."""
    return (image.regions, image.labels, image.group, image.waits_for)


def _image_row(counters: JobCounters, image: Image) -> tuple[Any, ...]:
    """Count an image; return its row, in the order of `_COLUMNS`."""
    error = None
    failed: tuple[Any, ...] = _NOT_FAILED
    if image.state is ImageState.FAILED:
        error = json.dumps(image.error)
        counters.arrived_failed[code_of(image.error)] += 1
        failed = counters.count_failure(image.id, image.error or {}, image.resume_step, ())
    counters.counts[image.state] += 1
    state = _STATES[image.state]
    if image.is_group:
        counters.open_groups += 1
        if image.waits_for:
            counters.waiting_groups += 1
            state = WAITING
    return (
        counters.number,
        image.id,
        image.name,
        image.stem,
        image.ref,
        state,
        image.size,
        error,
        *failed,
        image.resume_step,
    )


def accept_job(connection: Connection, job: str, skipped: dict[str, Any] | None = None) -> Job:
    counters = _lock_receiving(connection, job)
    if skipped is not None:
        document = json.dumps({**json.loads(counters.row["document"]), SKIPPED: skipped})
        connection.execute(_SET_DOCUMENT, {"job_number": counters.number, "document": document})
        counters.row = {**counters.row, "document": document}
    counters.accept()
    accepted = save(connection, counters)
    _count_accepted(connection, accepted, counters)
    return accepted


def _count_accepted(connection: Connection, job: Job, counters: JobCounters) -> None:
    if job.owner:
        add_to_usage(connection, job.owner, job.total, time.time())
    add_to_totals(connection, counters.ended)


def _lock_receiving(connection: Connection, job: str) -> JobCounters:
    counters = lock_job(connection, job)
    if counters is None:
        raise JobNotFoundError(job)
    if counters.state is not JobState.RECEIVING:
        raise ConflictError(f"job {job} is {counters.state}; only a receiving one takes images or can be accepted")
    return counters


def discard_receiving(connection: Connection, job: str | None, before: float | None) -> dict[str, int]:
    """Delete jobs that are still receiving; return their ids and numbers. The caller then deletes their images."""
    query = _RECEIVING if job is None else _RECEIVING.where(jobs.c.id == job)
    if before is not None:
        query = query.where(jobs.c.created_at < before)
    found = {row["id"]: int(row["number"]) for row in connection.execute(query).mappings().all()}
    for number in found.values():
        delete_row(connection, number)
    return found


def delete_row(connection: Connection, number: int) -> None:
    """Delete a job's row, and note that its images are still to be deleted."""
    connection.execute(_INSERT_DELETION, {"number": number})
    delete_packs(connection, number)
    delete_webhook_events(connection, number)
    connection.execute(_DELETE_JOB, {"job_number": number})

"""Job creation: a job's row, its images in batches, and its acceptance or removal."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from penstock.common.model.jobs import ImageState, JobState
from penstock.coordinator.database.backends.bulk import copy_rows, insert_statement
from penstock.coordinator.database.backends.engine import first_line
from penstock.coordinator.database.job_counters import JobCounters, lock_job, save
from penstock.coordinator.database.outbox import add_webhook_event, delete_webhook_events
from penstock.coordinator.database.rows import PLAIN_COLUMNS, job_of, write_step_totals
from penstock.coordinator.database.schema import deletions, images, job_labels, jobs
from penstock.coordinator.database.uploads import lock_upload
from penstock.coordinator.database.usage import add_to_totals, add_to_usage, code_of
from penstock.coordinator.ports.repository import (
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
_INSERT_LABELS = insert(job_labels)
_INSERT_IMAGES = insert(images)
_INSERT_DELETION = insert(deletions)
_DELETE_JOB = delete(jobs).where(jobs.c.number == bindparam("job_number"))
_COLUMNS = ("job", "id", "name", "stem", "ref", "state", "size", "error", "failure_number", "resume_step")
_COLUMNS_WITH_REGIONS = (*_COLUMNS, "regions")
_STATES = {state: state.value for state in ImageState}  # a lookup is ten times as fast as an enum's property
_RECEIVING = select(jobs).where(jobs.c.state == JobState.RECEIVING.value).order_by(jobs.c.id).with_for_update()


def create_job(connection: Connection, job: Job) -> None:
    row = _new_row(job)
    if job.upload is not None:
        lock_upload(connection, job.upload)
    with _only_job(job):
        connection.execute(_INSERT_JOB, row)
    if job.labels:
        connection.execute(_INSERT_LABELS, _label_rows(job))


def create_accepted(connection: Connection, job: Job, batch: Sequence[Image]) -> Job:
    """See Repository.create_accepted. Counted before the row is inserted, which then never changes here."""
    row = _new_row(job)
    counters = JobCounters({**row, "number": 0})
    rows = [dict(zip(_COLUMNS, _image_row(counters, image), strict=True), regions=image.regions) for image in batch]
    counters.accept()
    row |= counters.columns()
    if job.upload is not None:
        lock_upload(connection, job.upload)
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


def _new_row(job: Job) -> dict[str, Any]:
    """Return the row of a job that is being received."""
    no_totals = write_step_totals(StepTotals() for _ in job.plan.steps)
    return {
        **{name: getattr(job, name) for name in PLAIN_COLUMNS},
        "state": JobState.RECEIVING.value,
        "plan": json.dumps(job.plan.operations),
        "document": json.dumps(job.document),
        "labels": json.dumps(job.labels),
        "steps_of_done": no_totals,
        "steps_of_failed": no_totals,
        "retry_floor": 0,
        "arrived_failed": "{}",
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


def add_images(connection: Connection, job: str, batch: Sequence[Image]) -> None:
    """Append one batch of images; see Repository.add_images."""
    counters = _lock_receiving(connection, job)
    rows = [_image_row(counters, image) for image in batch]
    columns: tuple[str, ...] = _COLUMNS
    if any(image.regions is not None for image in batch):
        rows = [(*row, image.regions) for row, image in zip(rows, batch, strict=True)]
        columns = _COLUMNS_WITH_REGIONS
    with _distinct_images(job):
        if connection.dialect.name == "postgresql":
            copy_rows(connection, images, columns, rows)
        else:
            connection.exec_driver_sql(insert_statement(images, columns), rows)
    save(connection, counters)


def _image_row(counters: JobCounters, image: Image) -> tuple[Any, ...]:
    """Count an image; return its row, in the order of `_COLUMNS`."""
    error = failure_number = None
    if image.state is ImageState.FAILED:
        error = json.dumps(image.error)
        counters.arrived_failed[code_of(image.error)] += 1
        failure_number = counters.count_failure(image.resume_step, ())
    counters.counts[image.state] += 1
    return (
        counters.number,
        image.id,
        image.name,
        image.stem,
        image.ref,
        _STATES[image.state],
        image.size,
        error,
        failure_number,
        image.resume_step,
    )


def accept_job(connection: Connection, job: str) -> Job:
    counters = _lock_receiving(connection, job)
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
    delete_webhook_events(connection, number)
    connection.execute(_DELETE_JOB, {"job_number": number})

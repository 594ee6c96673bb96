"""SqlRepository: the repository in an SQL database. Each method runs one function of this package in a transaction."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection

from penstock.coordinator.database import (
    fencing,
    image_transitions,
    job_creation,
    job_transitions,
    outbox,
    packs,
    queries,
    uploads,
)
from penstock.coordinator.database.backends.engine import Database
from penstock.coordinator.database.backends.migrate import prepare_schema
from penstock.coordinator.database.owners import presets, sessions
from penstock.coordinator.database.usage import count_unstored, read_stored_bytes, read_totals, read_usage
from penstock.coordinator.ports.repository import Image, Job, Repository, WebhookEvent

_PAUSE_SECS = 0.001
"""Between pages, so that other threads get the lock: one that takes it again at once hardly ever loses it."""

P = ParamSpec("P")
T = TypeVar("T")


def _read(work: Callable[Concatenate[Connection, P], T]) -> Callable[Concatenate["SqlRepository", P], T]:
    """Return a method that runs `work` in a read transaction."""

    def method(self: "SqlRepository", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.read(work, *args, **kwargs)

    return method


def _write(work: Callable[Concatenate[Connection, P], T]) -> Callable[Concatenate["SqlRepository", P], T]:
    """Return a method that runs `work` in a write transaction."""

    def method(self: "SqlRepository", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.write(work, *args, **kwargs)

    return method


def _write_as_leader(work: Callable[Concatenate[Connection, P], T]) -> Callable[Concatenate["SqlRepository", P], T]:
    """Return a method that runs `work` in a write transaction, and refuses to once another coordinator leads."""

    def method(self: "SqlRepository", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.write(fencing.fenced, self._term, work, *args, **kwargs)

    return method


class SqlRepository(Repository):
    """`Repository` on SQLAlchemy Core; the methods are described there.

    A change to very many images is visible at once and written in pages. If a crash interrupts it, the next start
    writes the rest.
    """

    def __init__(self, url: str | URL, *, fsync: bool = True) -> None:
        """Connect, migrate the tables to this version's schema, and finish what a crash interrupted.

        Args:
            url: `sqlite:////var/lib/penstock/penstock.db` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`.
            fsync: whether SQLite has transactions on the disk before they end; PostgreSQL has settings of its own.

        Raises:
            SchemaError: the database was written by a newer version.
            UnavailableError: it can't be reached or written.
            ValueError: the URL is of a database that Penstock doesn't support.
        """
        self._database = Database(url, fsync=fsync)
        self._term: int | None = None
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def sqlite(cls, path: Path, *, fsync: bool = True) -> "SqlRepository":
        """Return the repository in an SQLite file. The file is created if it is missing, its folder isn't."""
        return cls(URL.create("sqlite", database=str(path)), fsync=fsync)

    def _prepare(self) -> None:
        self._database.write(prepare_schema)
        self._write_pages(job_transitions.retry_page, self._database.read(job_transitions.unfinished_retries))
        self._write_pages(job_transitions.delete_page, self._database.read(job_transitions.unfinished_deletions))
        self._write_pages(uploads.delete_page, self._database.read(uploads.unfinished_deletions))

    def _write_pages(self, page: Callable[[Connection, int], bool], numbers: Iterable[int]) -> None:
        for number in numbers:
            while self._database.write(page, number):
                time.sleep(_PAUSE_SECS)

    def lead(self, term: int | None) -> None:
        self._term = term

    create_job = _write(job_creation.create_job)
    accept_job = _write(job_creation.accept_job)
    create_accepted = _write(job_creation.create_accepted)
    create_dispatched = _write_as_leader(job_creation.create_dispatched)

    def add_images(self, job: str, images: Iterable[Image]) -> int:
        added = 0
        for batch in job_creation.batches(images):
            self._database.write(job_creation.add_images, job, batch, packing=added > 0)
            added += len(batch)
        return added

    def discard_receiving(self, job: str | None = None, *, before: float | None = None) -> list[str]:
        numbers = self._database.write(job_creation.discard_receiving, job, before)
        self._write_pages(job_transitions.delete_page, numbers.values())
        return list(numbers)

    get_job = _read(queries.get_job)
    find_by_key = _read(queries.find_by_key)
    list_jobs = _read(queries.list_jobs)
    count_found_jobs = _read(queries.count_found_jobs)
    count_open_jobs = _read(queries.count_open_jobs)
    count_jobs = _read(queries.count_jobs)
    dispatchable = _read(queries.dispatchable)
    open_jobs = _read(queries.open_jobs)
    get_image = _read(queries.get_image)
    image_by_name = _read(queries.image_by_name)
    image_by_stem = _read(queries.image_by_stem)
    list_images = _read(queries.list_images)
    list_failures = _read(queries.list_failures)
    list_members = _read(queries.list_members)
    list_places = _read(queries.list_places)
    in_flight = _read(queries.in_flight)

    unpack_images = _write_as_leader(packs.unpack_images)
    take_pending = _write_as_leader(image_transitions.take_pending)
    mark_running = _write(image_transitions.mark_running)
    apply = _write(image_transitions.apply)
    requeue_in_flight = _write_as_leader(image_transitions.requeue_in_flight)

    cancel_job = _write(job_transitions.cancel_job)

    def retry_job(
        self, job: str, images: Sequence[int] | None = None, *, everything: bool = False, code: str | None = None
    ) -> tuple[Job, int]:
        retried, count, number = self._database.write(job_transitions.retry_job, job, images, everything, code)
        if images is None and code is None and count:
            self._write_pages(job_transitions.retry_page, [number])
        return retried, count

    def delete_job(self, job: str) -> Job:
        deleted, number = self._database.write(job_transitions.delete_job, job)
        self._write_pages(job_transitions.delete_page, [number])
        return deleted

    def expire_job(self, at: float) -> Job | None:
        expired = self._database.write(job_transitions.expire_job, at)
        if expired is None:
            return None
        job, number = expired
        self._write_pages(job_transitions.delete_page, [number])
        return job

    delete_ended = _write(job_transitions.delete_ended)

    create_upload = _write(uploads.create_upload)
    get_upload = _read(uploads.get_upload)
    add_upload_file = _write(uploads.add_file)
    get_upload_file = _read(uploads.get_file)
    list_upload_files = _read(uploads.list_files)
    uploads_in_use = _read(uploads.uploads_in_use)
    open_uploads = _read(uploads.count_open)

    def discard_uploads(self, upload: str | None = None, *, before: float | None = None) -> list[str]:
        discarded: list[str] = []
        while numbers := self._database.write(uploads.discard, upload, before):
            self._write_pages(uploads.delete_page, numbers.values())
            discarded += numbers
        return discarded

    usage = _read(read_usage)
    stored_bytes = _read(read_stored_bytes)
    totals = _read(read_totals)
    count_unstored = _write(count_unstored)

    begin_session = _write(sessions.begin)
    find_session = _read(sessions.find)
    end_session = _write(sessions.end)

    list_presets = _read(presets.list_all)
    get_preset = _read(presets.get)
    put_preset = _write(presets.put)
    delete_preset = _write(presets.remove)

    _take_webhook_events = _write_as_leader(outbox.take_webhook_events)
    record_delivery = _write(outbox.record_delivery)
    list_webhook_events = _read(outbox.list_webhook_events)

    def take_webhook_events(self, at: float, limit: int, until: float) -> list[WebhookEvent]:
        if not self._database.read(outbox.is_any_due, at):
            return []
        return self._take_webhook_events(at, limit, until)

    put_status = _write_as_leader(fencing.put_status)
    get_status = _read(fencing.get_status)

    def check(self) -> None:
        self._database.check()

    def close(self) -> None:
        self._database.close()

"""The repository in an SQL database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sqlalchemy import URL, Connection, text

from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import Event
from penstock.coordinator.database import fencing as terms
from penstock.coordinator.database import image_transitions as progress
from penstock.coordinator.database import job_creation as admission
from penstock.coordinator.database import job_transitions as endings
from penstock.coordinator.database import outbox as notices
from penstock.coordinator.database import queries as reads
from penstock.coordinator.database import sessions, totals, uploads, usage
from penstock.coordinator.database.backends.engine import Database
from penstock.coordinator.database.backends.migrate import prepare_schema
from penstock.coordinator.ports.repository import Applied, Image, Job, Repository, Scope, Upload, UploadFile, Usage
from penstock.coordinator.ports.webhook_events import DeliveryAttempt, WebhookEvent

_PAUSE_SECS = 0.001
"""Between pages: a lock that is asked for again at once would hardly ever go to another thread."""


class SqlRepository(Repository):
    """`Repository` by SQLAlchemy Core; see there for every method.

    Changes to very many images are seen at once and written in pages; what a crash leaves unwritten, the next start
    writes.
    """

    def __init__(self, url: str | URL) -> None:
        """Connect, bring the tables to this version's shape, and finish what a crash has left.

        Args:
            url: `sqlite:////var/lib/penstock/penstock.db` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`.

        Raises:
            SchemaError: the database was written by a newer version.
            UnavailableError: it can't be reached or written.
            ValueError: the URL is of no database that Penstock knows.
        """
        self._database = Database(url)
        self._term: int | None = None
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def sqlite(cls, path: Path) -> SqlRepository:
        """Return the repository in an SQLite file, which is created if missing (its folder isn't)."""
        return cls(URL.create("sqlite", database=str(path)))

    def _prepare(self) -> None:
        self._database.write(prepare_schema)
        self._write_pages(endings.retry_page, self._database.read(endings.unfinished_retries))
        self._write_pages(endings.delete_page, self._database.read(endings.unfinished_deletions))
        self._write_pages(uploads.delete_page, self._database.read(uploads.unfinished_deletions))

    def lead(self, term: int | None) -> None:
        self._term = term

    def _write_pages(self, page: Callable[[Connection, int], bool], numbers: Iterable[int]) -> None:
        for number in numbers:
            while self._database.write(page, number):
                time.sleep(_PAUSE_SECS)

    def create_job(self, job: Job) -> None:
        self._database.write(admission.create_job, job)

    def add_images(self, job: str, images: Iterable[Image]) -> int:
        added = 0
        for batch in admission.batches(iter(images), admission.IMAGES_PER_BATCH):
            self._database.write(admission.add_images, job, batch)
            added += len(batch)
        return added

    def accept_job(self, job: str) -> Job:
        return self._database.write(admission.accept_job, job)

    def discard_receiving(self, job: str | None = None, *, before: float | None = None) -> list[str]:
        numbers = self._database.write(admission.discard_receiving, job, before)
        self._write_pages(endings.delete_page, numbers.values())
        return list(numbers)

    def get_job(self, job: str, scope: Scope) -> Job | None:
        return self._database.read(reads.get_job, job, scope)

    def find_by_key(self, idempotency_key: str) -> Job | None:
        return self._database.read(reads.find_by_key, idempotency_key)

    def list_jobs(
        self,
        scope: Scope,
        *,
        state: JobState | None = None,
        label: tuple[str, str] | None = None,
        limit: int,
        before: str | None = None,
    ) -> list[Job]:
        return self._database.read(reads.list_jobs, scope, state, label, limit, before)

    def count_open_jobs(self) -> int:
        return self._database.read(reads.count_open_jobs)

    def count_jobs(self) -> dict[JobState, int]:
        return self._database.read(reads.count_jobs)

    def dispatchable(self) -> list[Job]:
        return self._database.read(reads.dispatchable)

    def open_jobs(self) -> list[Job]:
        return self._database.read(reads.open_jobs)

    def get_image(self, job: str, image: int) -> Image | None:
        return self._database.read(reads.get_image, job, image)

    def image_by_name(self, job: str, name: str) -> Image | None:
        return self._database.read(reads.image_by_name, job, name)

    def image_by_stem(self, job: str, stem: str) -> Image | None:
        return self._database.read(reads.image_by_stem, job, stem)

    def list_images(self, job: str, *, state: ImageState | None = None, after: int = -1, limit: int) -> list[Image]:
        return self._database.read(reads.list_images, job, state, after, limit)

    def list_failures(self, job: str, *, after: int, limit: int) -> list[Image]:
        return self._database.read(reads.list_failures, job, after, limit)

    def take_pending(self, job: str, limit: int) -> list[Image]:
        return self._database.write(terms.within, self._term, progress.take_pending, job, limit)

    def mark_running(self, events: Sequence[Event]) -> None:
        self._database.write(progress.mark_running, events)

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        return self._database.write(progress.apply, events)

    def in_flight(self, job: str, limit: int) -> list[Image]:
        return self._database.read(reads.in_flight, job, limit)

    def requeue_in_flight(self, job: str | None = None, images: Sequence[int] | None = None) -> int:
        return self._database.write(terms.within, self._term, progress.requeue_in_flight, job, images)

    def cancel_job(self, job: str) -> Job:
        return self._database.write(endings.cancel_job, job)

    def retry_job(self, job: str, images: Sequence[int] | None = None) -> tuple[Job, int]:
        retried, count, number = self._database.write(endings.retry_job, job, images)
        if images is None and count:
            self._write_pages(endings.retry_page, [number])
        return retried, count

    def delete_job(self, job: str) -> Job:
        deleted, number = self._database.write(endings.delete_job, job)
        self._write_pages(endings.delete_page, [number])
        return deleted

    def create_upload(self, upload: Upload) -> None:
        self._database.write(uploads.create_upload, upload)

    def get_upload(self, upload: str, scope: Scope) -> Upload | None:
        return self._database.read(uploads.get_upload, upload, scope)

    def add_upload_file(self, upload: str, file: UploadFile, at: float) -> UploadFile:
        return self._database.write(uploads.add_file, upload, file, at)

    def get_upload_file(self, upload: str, name: str) -> UploadFile | None:
        return self._database.read(uploads.get_file, upload, name)

    def list_upload_files(self, upload: str, *, after: str = "", limit: int) -> list[UploadFile]:
        return self._database.read(uploads.list_files, upload, after, limit)

    def discard_uploads(self, upload: str | None = None, *, before: float | None = None) -> list[str]:
        discarded: list[str] = []
        while numbers := self._database.write(uploads.discard, upload, before):
            self._write_pages(uploads.delete_page, numbers.values())
            discarded += numbers
        return discarded

    def uploads_in_use(self, names: Sequence[str]) -> set[str]:
        return self._database.read(reads.uploads_in_use, names)

    def usage(self, owner: str, at: float) -> Usage:
        return self._database.read(usage.read_usage, owner, at)

    def begin_session(self, session: str, key_hash: str, at: float, expires_at: float) -> None:
        self._database.write(sessions.begin, session, key_hash, at, expires_at)

    def find_session(self, session: str, at: float) -> str | None:
        return self._database.read(sessions.find, session, at)

    def end_session(self, session: str) -> None:
        self._database.write(sessions.end, session)

    def take_notices(self, at: float, limit: int, until: float) -> list[WebhookEvent]:
        if not self._database.read(notices.any_due, at):
            return []
        return self._database.write(terms.within, self._term, notices.take_notices, at, limit, until)

    def note_delivery(self, notice: WebhookEvent, delivery: DeliveryAttempt, again_at: float | None) -> None:
        self._database.write(notices.note_delivery, notice, delivery, again_at)

    def list_notices(self, job: str) -> list[WebhookEvent]:
        return self._database.read(notices.list_notices, job)

    def totals(self) -> dict[str, int]:
        return self._database.read(totals.read_totals)

    def put_status(self, status: str) -> None:
        self._database.write(terms.within, self._term, terms.put_status, status)

    def get_status(self) -> tuple[float, str] | None:
        return self._database.read(terms.get_status)

    def check(self) -> None:
        self._database.read(lambda connection: connection.execute(text("SELECT 1")))

    def close(self) -> None:
        self._database.close()

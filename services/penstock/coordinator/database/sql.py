"""The repository in an SQL database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sqlalchemy import URL, Connection, text

from penstock.common.jobs import ImageState, JobState
from penstock.common.messages import Event
from penstock.coordinator.database import admission, endings, progress, reads
from penstock.coordinator.database.engine import Database
from penstock.coordinator.database.schema import prepare_schema
from penstock.coordinator.repository import Applied, Image, Job, Repository

_PAUSE_SECS = 0.001
"""Between pages: a lock that is asked for again at once would hardly ever go to another thread."""


class SqlRepository(Repository):
    """`Repository` by SQLAlchemy Core; see there for every method.

    Changes to very many images are seen at once and written in pages; what a crash leaves unwritten, the next start
    writes.
    """

    def __init__(self, url: str | URL) -> None:
        """Connect, create the tables if there are none, and finish what a crash has left.

        Args:
            url: an SQLAlchemy URL, such as `sqlite:////var/lib/penstock/penstock.db`.

        Raises:
            SchemaError: the database was written by a newer version.
            UnavailableError: it can't be reached or written.
        """
        self._database = Database(url)
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
        with self._database.write() as connection:
            prepare_schema(connection)
            retries = endings.unfinished_retries(connection)
            deletions = endings.unfinished_deletions(connection)
        self._write_pages(endings.retry_page, retries)
        self._write_pages(endings.delete_page, deletions)

    def _write_pages(self, page: Callable[[Connection, int], bool], numbers: Iterable[int]) -> None:
        for number in numbers:
            more = True
            while more:
                with self._database.write() as connection:
                    more = page(connection, number)
                time.sleep(_PAUSE_SECS)

    def create_job(self, job: Job) -> None:
        with self._database.write() as connection:
            admission.create_job(connection, job)

    def add_images(self, job: str, images: Iterable[Image]) -> int:
        added = 0
        for batch in admission.batches(iter(images), admission.IMAGES_PER_BATCH):
            with self._database.write() as connection:
                admission.add_images(connection, job, batch)
            added += len(batch)
        return added

    def accept_job(self, job: str) -> Job:
        with self._database.write() as connection:
            return admission.accept_job(connection, job)

    def discard_receiving(self, job: str | None = None) -> list[str]:
        with self._database.write() as connection:
            numbers = admission.discard_receiving(connection, job)
        self._write_pages(endings.delete_page, numbers.values())
        return list(numbers)

    def get_job(self, job: str) -> Job | None:
        with self._database.read() as connection:
            return reads.get_job(connection, job)

    def find_by_key(self, idempotency_key: str) -> Job | None:
        with self._database.read() as connection:
            return reads.find_by_key(connection, idempotency_key)

    def list_jobs(
        self,
        *,
        state: JobState | None = None,
        label: tuple[str, str] | None = None,
        limit: int,
        before: str | None = None,
    ) -> list[Job]:
        with self._database.read() as connection:
            return reads.list_jobs(connection, state, label, limit, before)

    def count_open_jobs(self) -> int:
        with self._database.read() as connection:
            return reads.count_open_jobs(connection)

    def count_jobs(self) -> dict[JobState, int]:
        with self._database.read() as connection:
            return reads.count_jobs(connection)

    def dispatchable(self) -> list[Job]:
        with self._database.read() as connection:
            return reads.dispatchable(connection)

    def open_jobs(self) -> list[Job]:
        with self._database.read() as connection:
            return reads.open_jobs(connection)

    def get_image(self, job: str, image: int) -> Image | None:
        with self._database.read() as connection:
            return reads.get_image(connection, job, image)

    def image_by_name(self, job: str, name: str) -> Image | None:
        with self._database.read() as connection:
            return reads.image_by_name(connection, job, name)

    def image_by_stem(self, job: str, stem: str) -> Image | None:
        with self._database.read() as connection:
            return reads.image_by_stem(connection, job, stem)

    def list_images(self, job: str, *, state: ImageState | None = None, after: int = -1, limit: int) -> list[Image]:
        with self._database.read() as connection:
            return reads.list_images(connection, job, state, after, limit)

    def list_failures(self, job: str, *, after: int, limit: int) -> list[Image]:
        with self._database.read() as connection:
            return reads.list_failures(connection, job, after, limit)

    def take_pending(self, job: str, limit: int) -> list[Image]:
        with self._database.write() as connection:
            return progress.take_pending(connection, job, limit)

    def mark_running(self, events: Sequence[Event]) -> None:
        with self._database.write() as connection:
            progress.mark_running(connection, events)

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        with self._database.write() as connection:
            return progress.apply(connection, events)

    def requeue_in_flight(self, job: str | None = None) -> int:
        with self._database.write() as connection:
            return progress.requeue_in_flight(connection, job)

    def cancel_job(self, job: str) -> Job:
        with self._database.write() as connection:
            return endings.cancel_job(connection, job)

    def retry_job(self, job: str, images: Sequence[int] | None = None) -> tuple[Job, int]:
        with self._database.write() as connection:
            retried, count, number = endings.retry_job(connection, job, images)
        if images is None and count:
            self._write_pages(endings.retry_page, [number])
        return retried, count

    def delete_job(self, job: str) -> Job:
        with self._database.write() as connection:
            deleted, number = endings.delete_job(connection, job)
        self._write_pages(endings.delete_page, [number])
        return deleted

    def uploads_in_use(self, uploads: Sequence[str]) -> set[str]:
        with self._database.read() as connection:
            return reads.uploads_in_use(connection, uploads)

    def check(self) -> None:
        with self._database.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self._database.close()

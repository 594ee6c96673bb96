"""The coordinator's database, with points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from penstock.common.model.messages import Event
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import Applied, Image, Job

if TYPE_CHECKING:
    from faulty import Guard


def make_repository(guard: Guard) -> type[SqlRepository]:
    """Return the class of a repository that reaches the guard's points."""

    class FaultyRepository(SqlRepository):
        def create_job(self, job: Job) -> None:
            super().create_job(job)
            guard.reach("job begun")

        def add_images(self, job: str, images: Iterable[Image]) -> int:
            count = super().add_images(job, images)
            guard.reach("images written")
            return count

        def accept_job(self, job: str) -> Job:
            accepted = super().accept_job(job)
            guard.reach("row written")
            return accepted

        def take_pending(self, job: str, limit: int) -> list[Image]:
            images = super().take_pending(job, limit)
            guard.reach("cursor moved" if images else None)
            return images

        def mark_running(self, events: Sequence[Event]) -> None:
            super().mark_running(events)
            guard.reach("running noted")

        def apply(self, events: Sequence[Event]) -> list[Applied]:
            applied = super().apply(events)
            guard.reach("transaction committed")
            return applied

        def requeue_in_flight(self, job: str | None = None, images: Sequence[int] | None = None) -> int:
            count = super().requeue_in_flight(job, images)
            guard.reach("lost images requeued" if count else None)
            return count

        def cancel_job(self, job: str) -> Job:
            cancelled = super().cancel_job(job)
            guard.reach("job cancelled")
            return cancelled

        def retry_job(self, job: str, images: Sequence[int] | None = None) -> tuple[Job, int]:
            retried = super().retry_job(job, images)
            guard.reach("job retried")
            return retried

        def delete_job(self, job: str) -> Job:
            deleted = super().delete_job(job)
            guard.reach("job deleted")
            return deleted

        def put_status(self, status: str) -> None:
            super().put_status(status)
            guard.reach("status put")

    return FaultyRepository

"""Faulty repository: the coordinator's database, with points at which faults are injected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.common.model.messages import Event
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import Applied, Image, Job

if TYPE_CHECKING:
    from fault_injection import FaultInjector


class FaultyRepository(SqlRepository):
    """Calls the injector after each write. The injector is set once for the process."""

    injector: ClassVar[FaultInjector]

    def create_job(self, job: Job) -> None:
        super().create_job(job)
        self.injector.reach("job begun")

    def add_images(self, job: str, images: Iterable[Image]) -> int:
        count = super().add_images(job, images)
        self.injector.reach("images written")
        return count

    def accept_job(self, job: str, skipped: dict[str, Any] | None = None) -> Job:
        accepted = super().accept_job(job, skipped)
        self.injector.reach("row written")
        return accepted

    def take_pending(self, job: str, limit: int) -> list[Image]:
        images = super().take_pending(job, limit)
        self.injector.reach("cursor moved" if images else None)
        return images

    def mark_running(self, events: Sequence[Event]) -> None:
        super().mark_running(events)
        self.injector.reach("running noted")

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        applied = super().apply(events)
        self.injector.reach("transaction committed")
        return applied

    def requeue_in_flight(self, job: str | None = None, images: Sequence[int] | None = None) -> int:
        count = super().requeue_in_flight(job, images)
        self.injector.reach("lost images requeued" if count else None)
        return count

    def cancel_job(self, job: str) -> Job:
        cancelled = super().cancel_job(job)
        self.injector.reach("job cancelled")
        return cancelled

    def retry_job(
        self, job: str, images: Sequence[int] | None = None, *, everything: bool = False, code: str | None = None
    ) -> tuple[Job, int]:
        retried = super().retry_job(job, images, everything=everything, code=code)
        self.injector.reach("job retried")
        return retried

    def delete_job(self, job: str) -> Job:
        deleted = super().delete_job(job)
        self.injector.reach("job deleted")
        return deleted

    def put_status(self, status: str) -> None:
        super().put_status(status)
        self.injector.reach("status put")

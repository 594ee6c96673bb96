"""What the REST API asks of the engine, the part of the coordinator that moves images through their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.coordinator.ports.repository import Job, StoredPlan


@dataclass(frozen=True)
class StepStatus:
    """One step as a whole, over all jobs. What was not measured yet is None."""

    name: str
    workers: int
    """Workers that consume from its queue."""
    ready: int
    """Chunks that wait in its queue."""
    in_flight: int
    """Chunks in a worker's hands."""
    remaining: int
    """Images that will still reach it, those not dispatched yet included."""
    seconds_per_image: float | None = None
    backlog_seconds: float | None = None
    """The work that is for these images, as one worker would take for it."""
    utilisation: float | None = None
    """Share of its workers' time spent working, 0 to 1."""
    shared_with: tuple[str, ...] = ()
    """Steps that the same workers serve, as images tell that came from one to the other without waiting."""


@dataclass(frozen=True)
class Backlog:
    """What is left for some steps together, over all jobs; always numbers, for those that scale by them."""

    steps: tuple[str, ...]
    backlog_seconds: float
    """Work that is left in them, as one worker would take for it; 0 only when no image has yet to pass them."""
    remaining: int
    """Images that have yet to pass at least one of them."""
    workers: int
    """Workers that serve them; where they differ from step to step, the most."""


class Scheduler(Protocol):
    """Dispatch and tracking. All methods may be called from any thread."""

    def wake(self) -> None:
        """New work may be there: a job was accepted or retried."""

    def live(self, job: str) -> list[tuple[int, int]]:
        """Return `(waiting, running)` images for each operation of the plan; empty where none is under way."""

    def images_per_second(self, job: str) -> float | None:
        """Return how fast a job's images end just now; None before that is known."""

    def steps(self) -> list[StepStatus]:
        """Return every step that this system runs."""

    def backlog(self, steps: Sequence[str]) -> Backlog:
        """Return what is left to do for some steps together; their workers as seen last, where the broker is away.

        Raises:
            UnavailableError: the database is away.
        """

    def seconds_of(self, plan: StoredPlan) -> list[float | None]:
        """Return the work that one image takes in each operation of a plan, as those took that went the same way.

        Where there were none, it is what images take in the step; None before any was measured.
        """

    def cancel(self, job: str) -> Job:
        """Cancel a job and everything of it that is under way.

        Raises:
            ConflictError: it has ended otherwise already.
            JobNotFoundError: no such job.
        """

    def retry(self, job: str, images: Sequence[int] | None) -> tuple[Job, int]:
        """Make failed images (all, or those named) pending again; return the job and how many.

        Raises:
            ConflictError: the job was cancelled or has not ended.
            JobNotFoundError: no such job.
            ImageNotFailedError: one of the images has not failed.
        """

    def delete(self, job: str) -> None:
        """Remove a job that has ended, its results and intermediates, and its upload when nobody else reads it.

        Raises:
            ConflictError: it has not ended.
            JobNotFoundError: no such job.
        """

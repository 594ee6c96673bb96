"""Scheduler port: what the REST API and intake need of the part that moves images through their steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import Field

from penstock.coordinator.ports.repository import Job, StoredPlan


@dataclass(frozen=True)
class JobProgress:
    """One job's images in flight. The leader tells followers of it as JSON, with version 0.1.0's names as aliases."""

    positions: list[tuple[int, int]] = field(default_factory=list)
    """`(waiting, running)` images for each operation of the plan; empty if none are in flight."""
    images_per_second: Annotated[float | None, Field(alias="rate")] = None
    """Current throughput; None before it is known."""
    running: list[tuple[int, float]] = field(default_factory=list)
    """`(chunks, seconds)` for each operation: how many chunks run, and for how long together; empty if unknown."""


@dataclass(frozen=True)
class Forecast:
    """What limits an open job, and how long it will take."""

    bottleneck: str | None = None
    """The step whose workers need longest for the job's work; None if no work is known."""
    eta_secs: float | None = None
    """Seconds left; None until an image has been timed, or while a step has no workers."""


@dataclass(frozen=True)
class StepStatus:
    """One step over all jobs. What was not measured yet is None."""

    name: str
    workers: int
    """Workers that consume from its queue."""
    ready: int
    """Chunks waiting in its queue."""
    in_flight: int
    """Chunks that its workers hold."""
    remaining: int
    """Images that have not passed it, including those not dispatched yet."""
    seconds_per_image: float | None = None
    backlog_seconds: float | None = None
    """Work that these images are for one worker."""
    utilisation: float | None = None
    """Share of its workers' time spent working, 0 to 1."""
    shared_with: tuple[str, ...] = ()
    """Steps that the same workers serve, known from images that went from one step to the other without waiting."""


@dataclass(frozen=True)
class Backlog:
    """Work left for some steps together, over all jobs. All fields are numbers, because autoscalers read them."""

    steps: tuple[str, ...]
    backlog_seconds: float
    """Work left for one worker; 0 only if no image has yet to pass these steps."""
    remaining: int
    """Images that have yet to pass at least one of them."""
    workers: int
    """Workers that serve them; the most of any step, if they differ."""


class Scheduler(Protocol):
    """Dispatch and tracking, from any thread. Calls raise UnavailableError if the database is unreachable."""

    def wake(self) -> None:
        """Look for work now, because a job was accepted or retried."""

    def progress(self, job: str) -> JobProgress:
        """Return a job's images in flight."""

    def steps(self) -> list[StepStatus]:
        """Return the status of every step; raises UnavailableError also if the broker is unreachable."""

    def backlog(self, steps: Sequence[str]) -> Backlog:
        """Return the work left for some steps together. If the broker is unreachable, the last known workers count."""

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        """Return the seconds of one image in each operation of a plan; None before any image was measured.

        It is the time of images with the same operations up to there; without such images, that of the step.
        """

    def forecast(self, job: Job) -> Forecast:
        """Return what limits an open job, and how long it will take, by the work left for it and the workers."""

    def cancel(self, job: str) -> Job:
        """Cancel a job: `Repository.cancel_job`, and spare the workers its images."""

    def retry(self, job: str, images: Sequence[int] | None) -> tuple[Job, int]:
        """Retry a job's failed images: `Repository.retry_job`, and dispatch them."""

    def delete_ended(self, jobs: Sequence[str]) -> set[str]:
        """Delete those of some jobs that have ended: `Repository.delete_ended`, and their results and uploads.

        For jobs that share their uploads with no other. Returns which were deleted.
        """

    def delete(self, job: str) -> None:
        """Delete a job, `Repository.delete_job`, its stored objects, and its upload if no other job reads it."""

"""Scheduler port: what the REST API and intake need of the part that moves images through their steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, Protocol

from pydantic import Field

from penstock.coordinator.ports.repository import Image, Job, StoredPlan


@dataclass(frozen=True)
class JobProgress:
    """One job's images in flight. The leader tells followers of it as JSON, with version 0.1.0's names as aliases."""

    positions: list[tuple[int, int]] = field(default_factory=list)
    """`(waiting, running)` images for each operation of the plan; empty if none are in flight."""
    images_per_second: Annotated[float | None, Field(alias="rate")] = None
    """Current throughput; None before it is known."""
    running: list[tuple[int, float]] = field(default_factory=list)
    """`(chunks, seconds)` for each operation: how many chunks run, and for how long together; empty if unknown."""
    waiting_for: str | None = None
    """What keeps its images' workers from working, such as `store full (12 kB free)`; None if nothing does."""


@dataclass(frozen=True)
class Outlook:
    """When a job with a deadline or a highest price will end, and what that takes. None of it is known at first."""

    secs: float | None = None
    """Seconds until it ends; None also while a step has no workers and gets none."""
    is_feasible: bool | None = None
    """Whether its deadline and its highest price can be kept."""
    replicas: dict[str, int] = field(default_factory=dict)
    """By step, the replicas that it takes."""
    price: float | None = None
    """What the rest of it costs; None without prices."""
    least_secs: float | None = None
    """Seconds until it would end with as many replicas as there can be."""
    least_price: float | None = None
    """The lowest price for which it ends in time."""
    affordable_secs: float | None = None
    """Seconds until it would end for its highest price; None if there is no way."""


@dataclass(frozen=True)
class Forecast:
    """What limits an open job, and how long it will take."""

    bottleneck: str | None = None
    """The step whose workers need longest for the job's work; None if no work is known."""
    eta_secs: float | None = None
    """Seconds left; None until an image has been timed, or while a step has no workers."""
    pools: tuple[tuple[str, ...], ...] = ()
    """The job's steps, those together that the same workers serve."""
    outlook: Outlook | None = None
    """For a job with a deadline or a highest price."""


@dataclass(frozen=True)
class StepStatus:
    """One step over all jobs. What was not measured yet is None."""

    name: str
    workers: int
    """Its workers, also those that wait."""
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
    images_per_second: float | None = None
    """Images that it works on, by the time of each."""
    shared_with: tuple[str, ...] = ()
    """Steps that the same workers serve, known from images that went from one step to the other without waiting."""
    waiting_workers: int = 0
    """Workers that wait for a dependency that cannot be used, such as a full store."""
    waiting_for: str | None = None
    """What they wait for, such as `store full (12 kB free)`; None if none waits."""
    wanted_workers: int = 0
    """Workers that its autoscaler should have: the fewest that meet all deadlines, and those for the other jobs."""
    deadline_workers: int = 0
    """Workers that the deadlines of jobs alone take."""


class WorkerState(NamedTuple):
    """A worker, as it told of itself. The leader tells followers of it as JSON."""

    name: str
    """Its host and process: `host:pid`."""
    steps: tuple[str, ...] = ()
    """The steps that it serves; none until it told."""
    version: str = ""
    step: str | None = None
    """What it works on; None: nothing."""
    since: float = 0.0
    """For how many seconds."""
    waiting_for: str | None = None
    """What keeps it from working, such as `store full (12 kB free)`."""


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
    wanted_workers: int = 0
    """Workers that should serve them: the fewest that meet all deadlines, and those for the other jobs."""


class Scheduler(Protocol):
    """Dispatch and tracking, from any thread. Calls raise UnavailableError if the database is unreachable."""

    def wake(self) -> None:
        """Look for work now, because a job was accepted or retried."""

    def create_small(self, job: Job, images: Sequence[Image]) -> Job:
        """Create a job with few images, and accept it: `Repository.create_accepted`; return it. `start_small` follows.

        If nothing waits before them, they count as dispatched, which saves a transaction. A transient job with one
        image is not stored then, unless it lasts: `find_small` finds its image.
        """

    def find_small(self, job: str) -> Image | None:
        """Return the image of a job with one image that `create_small` returned; store the job if it lasts."""

    def store_small(self, job: str) -> None:
        """Store a job that `create_small` returned, unless it is stored or has ended: it outlives its request."""

    def count_unstored(self) -> int:
        """Count the open jobs that are not stored."""

    def start_small(self, job: Job, images: Sequence[Image]) -> None:
        """Dispatch the images of a job that `create_small` returned, or look for work now."""

    def progress(self, job: str) -> JobProgress:
        """Return a job's images in flight."""

    def steps(self) -> list[StepStatus]:
        """Return the status of every step; raises UnavailableError also if the broker is unreachable."""

    def workers(self) -> list[WorkerState]:
        """Return the workers that told of themselves, by name; at most 500."""

    has_prices: bool
    """Whether the price of workers is known."""

    def backlog(self, steps: Sequence[str], secs_per_worker: float) -> Backlog:
        """Return the work left for some steps together. If the broker is unreachable, the last known workers count.

        For jobs without a deadline, a worker is wanted for each `secs_per_worker` of work.
        """

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        """Return the seconds of one image in each operation of a plan; None before any image was measured.

        It is the time of images with the same operations up to there; without such images, that of the step.
        """

    def forecast(self, job: Job) -> Forecast:
        """Return what limits an open job, and how long it will take, by the work left for it and the workers."""

    def cancel(self, job: str) -> Job:
        """Cancel a job: `Repository.cancel_job`, and spare the workers its images."""

    def retry(
        self, job: str, images: Sequence[int] | None, *, everything: bool = False, code: str | None = None
    ) -> tuple[Job, int]:
        """Retry a job's failed images: `Repository.retry_job`, and dispatch them."""

    def delete_ended(self, jobs: Sequence[str]) -> set[str]:
        """Delete those of some jobs that have ended: `Repository.delete_ended`, and their results and uploads.

        For jobs that share their uploads with no other. Returns which were deleted.
        """

    def delete(self, job: str) -> None:
        """Delete a job, `Repository.delete_job`, its stored objects, and its upload if no other job reads it."""

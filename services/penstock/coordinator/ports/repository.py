"""The repository's port: jobs and images, and every change that may happen to them.

The database is the truth. Every adapter passes the one contract suite in `tests/contract/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import Event, Result, StepTime
from penstock.coordinator.ports.webhook_events import DeliveryAttempt, WebhookEvent


@dataclass(frozen=True)
class Scope:
    """Whose jobs and uploads a read finds: those of one owner, or of everyone (None)."""

    owner: str | None

    def includes(self, owner: str) -> bool:
        """Say whether something of this owner is in scope."""
        return self.owner is None or self.owner == owner


ALL_OWNERS = Scope(None)


@dataclass(frozen=True)
class StoredOperation:
    """One operation of a stored plan: its step, which may no longer be installed, and its parameters."""

    step: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class StoredPlan:
    """A job's plan as the database and messages carry it. It can be read even when a step is no longer installed."""

    operations: tuple[StoredOperation, ...]

    @classmethod
    def read(cls, document: Iterable[Mapping[str, Any]]) -> StoredPlan:
        """Read the long form of every operation: `{"op": "resize", "width": 200, "height": 300}`."""
        split = ((str(given["op"]), {key: given[key] for key in given if key != "op"}) for given in document)
        return cls(tuple(StoredOperation(step, params) for step, params in split))

    @property
    def steps(self) -> tuple[str, ...]:
        """The step of each operation; the same step may appear more than once."""
        return tuple(operation.step for operation in self.operations)

    def document(self) -> list[dict[str, Any]]:
        """Return the long form of every operation."""
        return [{"op": operation.step, **operation.params} for operation in self.operations]


@dataclass(frozen=True)
class StepTotals:
    """One operation of a job's plan: images that have left it for good, and their seconds."""

    done: int = 0
    failed: int = 0
    wait_secs: float = 0.0
    work_secs: float = 0.0


@dataclass(frozen=True)
class Job:
    """One job's row. Times are seconds since the epoch. Counters move with the images, never counted on a read."""

    id: str
    state: JobState
    plan: StoredPlan
    document: dict[str, Any]
    """The job document as it was understood (without `operations`, which `plan` holds, and `inputs`)."""
    created_at: float
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    weight: int = 1
    chunk_size: int | None = None
    """Images a message; None is auto."""
    on_failure: str = "continue"
    upload: str | None = None
    """The upload whose files its images read, shared with the other jobs of the request."""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    """Digest of the request's body, beside `idempotency_key`."""
    run: int = 0
    """How often the job was retried."""
    started_at: float | None = None
    finished_at: float | None = None
    total: int = 0
    pending: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    owner: str = ""
    """The name of the API key that sent it; empty where none was asked for."""
    failures_seen: int = 0
    """Failures so far, those since retried included: numbers the entries of the job's event stream."""
    steps: list[StepTotals] = field(default_factory=list)
    """One for each operation of the plan."""
    webhook_url: str | None = field(default=None, repr=False)
    """Where its end is told."""
    webhook_secret: str | None = field(default=None, repr=False)
    """What signs it; None: the server's secret."""


@dataclass(slots=True)
class Image:
    """One image's row. `id` counts from 0 in the job's order; `stem` is unique in the job.

    Not changed once made; not frozen, because a job has millions and that would take three times as long to make.
    """

    id: int
    name: str
    stem: str
    ref: str
    state: ImageState = ImageState.PENDING
    size: int | None = None
    attempts: int = 0
    results: list[Result] = field(default_factory=list)
    error: dict[str, Any] | None = None
    """`{code, message, step, retry}` of a failed image."""
    failure_number: int | None = None
    """Which of the job's failures this was (`Job.failures_seen` just after it)."""
    timings: list[StepTime] = field(default_factory=list)
    resume_step: int = 0
    resume_blob: str | None = None
    resume_parts: int = 0


@dataclass(frozen=True)
class UploadFile:
    """One file of an upload. `key` is where its bytes are in the store, `kind` its type by them (None: no picture)."""

    name: str
    key: str
    size_bytes: int
    kind: str | None
    sha256: str


@dataclass(frozen=True)
class Upload:
    """Files that are sent one by one, for jobs to read. Times are seconds since the epoch."""

    id: str
    changed_at: float
    """When it was begun, or its last file came."""
    files: int = 0
    pictures: int = 0
    """Files that are JPEG or PNG by their first bytes."""
    size_bytes: int = 0
    owner: str = ""
    """The name of the API key that began it; empty where none was asked for."""


@dataclass(frozen=True)
class Usage:
    """What an owner has: jobs that have not ended, their images that have not, and images that came today (UTC)."""

    open_jobs: int
    open_images: int
    images_today: int


@dataclass(frozen=True)
class Applied:
    """What a batch of events changed in one job."""

    job: Job
    """As it is now."""
    finished: bool
    """Whether this batch brought it into a terminal state."""
    stale_results: list[str]
    """Store keys that late outcomes of cancelled images brought and nobody will see."""


class ConflictError(Exception):
    """The idempotency key is taken, or the state of the job or upload does not allow the change."""


class DuplicateImageError(ConflictError):
    """Two images of a job have the same id, name or stem."""


class JobNotFoundError(Exception):
    """There is no such job."""


class UploadNotFoundError(Exception):
    """There is no such upload."""


class ImageNotFailedError(Exception):
    """The job has no such image, or the image has not failed."""

    def __init__(self, job: str, image: int) -> None:
        super().__init__(f"image {image} of job {job} has not failed")
        self.image = image


class Repository(Protocol):
    """Jobs and images. Every method is one transaction and may be called from any thread.

    All raise UnavailableError where the database is away.
    """

    def create_job(self, job: Job) -> None:
        """Add a job in state `receiving`, invisible to `list_jobs` and to dispatch.

        Raises:
            ConflictError: another job, of any state, has its idempotency key.
        """

    def add_images(self, job: str, images: Iterable[Image]) -> int:
        """Append images to a job that is `receiving`, in batches of bounded size; return how many.

        An image given in state `failed` (with `error`) has failed already, in operation `resume_step`, and is counted
        so. What was added before `images` raised stays, until the job is discarded.

        Raises:
            ConflictError: the job is no longer receiving.
            DuplicateImageError: two images have the same id, name or stem.
            JobNotFoundError: no such job.
        """

    def accept_job(self, job: str) -> Job:
        """Make a receiving job `accepted` (or terminal where no image is left to do), with its counters final.

        Raises:
            ConflictError: the job is no longer receiving.
            JobNotFoundError: no such job.
        """

    def discard_receiving(self, job: str | None = None, *, before: float | None = None) -> list[str]:
        """Drop one job that is still `receiving`, or all such (created before that time); return their ids."""

    def get_job(self, job: str, scope: Scope) -> Job | None:
        """Return a job in scope that is not `receiving`."""

    def find_by_key(self, idempotency_key: str) -> Job | None:
        """Return the job that was sent with that key, in any state."""

    def list_jobs(
        self,
        scope: Scope,
        *,
        state: JobState | None = None,
        label: tuple[str, str] | None = None,
        limit: int,
        before: str | None = None,
    ) -> list[Job]:
        """Return jobs in scope, newest first (ids sort by time of creation), only those older than job `before`."""

    def count_open_jobs(self) -> int:
        """Count jobs that are receiving, accepted or running."""

    def count_jobs(self) -> dict[JobState, int]:
        """Count jobs by state; states that no job is in may be left out."""

    def dispatchable(self) -> list[Job]:
        """Return open jobs that have pending images, highest priority first, then oldest first."""

    def open_jobs(self) -> list[Job]:
        """Return jobs that are accepted or running."""

    def get_image(self, job: str, image: int) -> Image | None:
        """Return one image. Images of a job that is `receiving` are not seen, here and below."""

    def image_by_name(self, job: str, name: str) -> Image | None:
        """Return the image that was sent under a name (unique in its job)."""

    def image_by_stem(self, job: str, stem: str) -> Image | None:
        """Return the image whose results are named after `stem` (unique in its job)."""

    def list_images(self, job: str, *, state: ImageState | None = None, after: int = -1, limit: int) -> list[Image]:
        """Return images in the order of their ids, those with a greater id than `after`."""

    def list_failures(self, job: str, *, after: int, limit: int) -> list[Image]:
        """Return failed images whose `failure_number` is greater than `after`, in that order."""

    def take_pending(self, job: str, limit: int) -> list[Image]:
        """Make the job's first pending images `queued`, the job `running`, and return them as they were."""

    def mark_running(self, events: Sequence[Event]) -> None:
        """Make the queued images of `started` events `running`, where run and state allow it."""

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        """Apply `finished` events: each image becomes terminal once, whatever is delivered twice or late.

        Outcomes of another run than the job's, or of images already terminal, change nothing. When the last image of
        a job is terminal the job becomes, once, `succeeded` (all done), `partial` or `failed` (none done). Counters,
        step totals (every operation up to the failing one counts as done, the failing one as failed) and failure
        numbers move in the same transaction. Returns one entry for each job among the events that exists.
        """

    def lead(self, term: int | None) -> None:
        """From now on take, requeue and put a status only while no later term than this one has begun; None: always."""

    def in_flight(self, job: str, limit: int) -> list[Image]:
        """Return a job's queued and running images, by id, `limit` at most."""

    def requeue_in_flight(self, job: str | None = None, images: Sequence[int] | None = None) -> int:
        """Make queued and running images pending again (after their queues were lost); return how many.

        Of one job, all of them or those named; or of all jobs.
        """

    def cancel_job(self, job: str) -> Job:
        """Make a job and all its images that are not terminal `cancelled`.

        Raises:
            ConflictError: the job has ended otherwise already (a cancelled one stays as it is).
            JobNotFoundError: no such job.
        """

    def retry_job(self, job: str, images: Sequence[int] | None = None) -> tuple[Job, int]:
        """Make failed images (all, or those named) pending again, the job `running` with `run` one higher.

        Their `resume_*` fields, timings and attempts stay; step totals no longer count them. Where none is failed
        nothing changes. Returns the job and how many.

        Raises:
            ConflictError: the job was cancelled or has not ended.
            JobNotFoundError: no such job.
            ImageNotFailedError: one of the images has not failed.
        """

    def delete_job(self, job: str) -> Job:
        """Remove a terminal job and its images; returns what it was.

        Raises:
            ConflictError: the job has not ended.
            JobNotFoundError: no such job.
        """

    def create_upload(self, upload: Upload) -> None:
        """Begin an upload."""

    def get_upload(self, upload: str, scope: Scope) -> Upload | None:
        """Return an upload in scope that was not discarded."""

    def add_upload_file(self, upload: str, file: UploadFile, at: float) -> UploadFile:
        """Note a file that is in the store; return the one that has its name now: this one, or one that came before.

        Raises:
            ConflictError: a job reads the upload already, and there is no file of that name.
            UploadNotFoundError: no such upload.
        """

    def get_upload_file(self, upload: str, name: str) -> UploadFile | None:
        """Return the file of an upload that has a name."""

    def list_upload_files(self, upload: str, *, after: str = "", limit: int) -> list[UploadFile]:
        """Return the files of an upload in the order of their names, those that come after one."""

    def discard_uploads(self, upload: str | None = None, *, before: float | None = None) -> list[str]:
        """Drop one upload, or all that were last changed before a time, except where a job of any state reads it.

        Returns the ids of those dropped. A job that is created afterwards finds no file in them.
        """

    def uploads_in_use(self, uploads: Sequence[str]) -> set[str]:
        """Return those of the uploads that some job still reads, or that were begun and not discarded."""

    def usage(self, owner: str, at: float) -> Usage:
        """Return what an owner has at a time (seconds since the epoch), jobs that are receiving included.

        Images count for the day from their job's acceptance on, also when the job has been deleted since.
        """

    def begin_session(self, session: str, key_hash: str, at: float, expires_at: float) -> None:
        """Keep that a browser is logged in with a key, and forget those whose time is over."""

    def find_session(self, session: str, at: float) -> str | None:
        """Return the hash of the key that a browser is logged in with; None where it isn't, or no longer."""

    def end_session(self, session: str) -> None:
        """Forget that a browser is logged in."""

    def take_notices(self, at: float, limit: int, until: float) -> list[WebhookEvent]:
        """Return notices that are due at a time, earliest first, and make them due again at `until`.

        A job that has a `webhook_url` leaves a notice in the transaction that ends it, due at once. It goes with its
        job.

        Raises:
            UnavailableError: a later term has begun (see `lead`).
        """

    def note_delivery(self, notice: WebhookEvent, delivery: DeliveryAttempt, again_at: float | None) -> None:
        """Add to a notice's deliveries. It has arrived, or is due `again_at`, or is given up where that is None."""

    def list_notices(self, job: str) -> list[WebhookEvent]:
        """Return a job's notices, the newest first; those of very many runs ago are gone."""

    def totals(self) -> dict[str, int]:
        """Return how many images ever ended: `done`, `cancelled`, and each error code of those that failed.

        Counted in the transactions that end them (for images that came failed: that accepts their job), so each once;
        a retried image counts again when it ends again.
        """

    def put_status(self, status: str) -> None:
        """Keep what the leading coordinator tells the others (one text; the last one counts)."""

    def get_status(self) -> tuple[float, str] | None:
        """Return when the leader's last status was put (seconds since the epoch, the database's clock), and it."""

    def check(self) -> None:
        """Prove that the database answers."""

    def close(self) -> None:
        """Disconnect."""

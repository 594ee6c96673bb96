"""Repository port: jobs, images and uploads, and every change that they go through.

The database is the source of truth. Every adapter passes the contract suite in `tests/contract/database/`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypedDict, Unpack

from penstock.common.model.jobs import TERMINAL_JOB_STATES, ImageState, JobState
from penstock.common.model.messages import Event, Result, StepTime
from penstock.common.model.plan import NO_STEPS, Layout
from penstock.coordinator.ports.throughput import Throughput
from penstock.coordinator.ports.usage import ALL_OWNERS as ALL_OWNERS
from penstock.coordinator.ports.usage import OpenUploads as OpenUploads
from penstock.coordinator.ports.usage import Scope as Scope
from penstock.coordinator.ports.usage import StoredBytes as StoredBytes
from penstock.coordinator.ports.usage import Usage as Usage
from penstock.coordinator.ports.webhook_events import DeliveryAttempt as DeliveryAttempt
from penstock.coordinator.ports.webhook_events import WebhookEvent as WebhookEvent
from penstock.coordinator.ports.webhook_events import WebhookEventState as WebhookEventState

SKIPPED = "skipped"
"""The field of a job's stored document with what was left out of it, in the form of `rest.Skipped`."""
DEADLINE = "deadline_at"
"""The field of a job's stored document with its deadline, in seconds since the epoch."""
TRANSIENT = "transient"
"""The field of a job's stored document, and its label, if the job is deleted once its request was answered."""


@dataclass(frozen=True)
class StoredPlan:
    """A job's plan as the database and messages carry it. It can be read even when a step is no longer installed."""

    operations: list[dict[str, Any]]
    """The long form of every operation: `{"op": "resize", "width": 200, "height": 300}`. The first may be `decode`;
    with several outputs, what says whose they are stands before all."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The step of each operation; the same step may appear more than once."""
        return tuple(operation["op"] for operation in self.operations if operation["op"] not in NO_STEPS)

    @cached_property
    def layout(self) -> Layout:
        """Which operations each image passes."""
        return Layout.of(self.operations)


@dataclass
class StepTotals:
    """One operation of a job's plan: how many images it completed or failed, and their seconds."""

    done: int = 0
    failed: int = 0
    wait_secs: float = 0.0
    work_secs: float = 0.0


@dataclass(frozen=True)
class FailureCount:
    """Failed images of a job with the same error code, and how many of them a retry may help."""

    code: str
    images: int
    retryable: int


@dataclass(frozen=True)
class Job:
    """A job's row. Times are seconds since the epoch. Counters change together with the images."""

    id: str
    state: JobState
    plan: StoredPlan
    document: dict[str, Any]
    """The validated job document, without `operations` (see `plan`), `inputs` and `webhook`."""
    created_at: float
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    weight: int = 1
    chunk_size: int | None = None
    """Images in a chunk; None is auto."""
    on_failure: str = "continue"
    upload: str | None = None
    """The upload with its images' files, shared with the other jobs of the request."""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    """Digest of the request, set together with `idempotency_key`."""
    run: int = 0
    """How often the job was retried."""
    started_at: float | None = None
    finished_at: float | None = None
    run_started_at: float | None = None
    """When the current run took its first image; None before that, and once it has ended."""
    worked_secs: float = 0.0
    """How long the runs that have ended took, without the pauses between them."""
    throughput: Throughput = field(default_factory=Throughput)
    total: int = 0
    pending: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    owner: str = ""
    """The name of the API key that sent it; empty without API keys."""
    failures_seen: int = 0
    """Failures so far, including those retried since. Numbers the failures in the job's event stream."""
    failures: list[FailureCount] = field(default_factory=list)
    """The failed images by error code, most frequent first."""
    steps: list[StepTotals] = field(default_factory=list)
    """One for each operation of the plan."""
    expire_after_secs: float | None = None
    """How long it is kept after its end; None: until it is deleted."""
    expires_at: float | None = None
    """When it is deleted; None while it is open."""
    upload_bytes: int = 0
    """Bytes in `upload`."""
    result_bytes: int = 0
    """Bytes of its results in the store, without those in buckets of its own."""
    source_job: str | None = None
    """The earlier job whose images it reads. While it is open, that one does not expire."""
    packed: int = 0
    """How many of the pending images are packed."""
    open_groups: int = 0
    waiting_groups: int = 0
    """Groups, which are images of the job, that have not ended, and those of them that wait for their images."""
    webhook_url: str | None = field(default=None, repr=False)
    """Where the event of its end is sent."""
    webhook_secret: str | None = field(default=None, repr=False)
    """Signs the event; None: the server's secret does."""

    @property
    def has_ended(self) -> bool:
        """Whether its state is final, unless it is retried."""
        return self.state in TERMINAL_JOB_STATES

    @property
    def dispatchable(self) -> int:
        """How many pending images can be dispatched now."""
        return self.pending - self.waiting_groups

    @property
    def retryable(self) -> int:
        """How many failed images a retry may help; without a code (of an older version), they count as such."""
        return self.failed - sum(each.images - each.retryable for each in self.failures)

    def seconds_worked(self, at: float) -> float:
        """Return its working time at a time (seconds since the epoch): that of all runs, without pauses between."""
        return self.worked_secs + (0.0 if self.run_started_at is None else max(0.0, at - self.run_started_at))

    @property
    def deadline(self) -> float | None:
        """When it should have ended, in seconds since the epoch; None without a deadline."""
        return self.document.get(DEADLINE)

    @property
    def max_price(self) -> float | None:
        """The most that it may cost; None: it does not matter."""
        cost = self.document.get("cost")
        return None if cost is None else float(cost["max_price"])

    @property
    def is_transient(self) -> bool:
        """Whether it is deleted once its request was answered. A label alone, which users can give, does not say so."""
        return TRANSIENT in self.document


@dataclass(slots=True)
class Image:
    """An image's row. `id` counts from 0 in the job's order; `stem` is unique in the job.

    Never changed. Not frozen, because a job has millions, and creating them would take three times as long.
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
    """Its number among the job's failures: `Job.failures_seen` just after it."""
    timings: list[StepTime] = field(default_factory=list)
    resume_step: int = 0
    resume_blob: str | None = None
    resume_parts: int = 0
    regions: str | None = None
    """The JSON list of the regions that came with it, or where its sidecar is: a store key or URL; None without any."""
    labels: str | None = None
    group: int | None = None
    waits_for: int | None = None
    """Its labels as JSON, and the id of its group, if it has any; of a group, how many of its images have not ended."""
    stale_results: list[Result] = field(default_factory=list)
    """Results that a group had in an earlier run, until it ends again. They are removed before it is dispatched."""

    @property
    def is_group(self) -> bool:
        """Whether it is a group of images, which has no input file of its own."""
        return self.waits_for is not None


class PlacedImages(NamedTuple):
    """Images taken at about the same place: the first one's id, its place in degrees, and how many there are."""

    image: int
    longitude: float
    latitude: float
    images: int


@dataclass(frozen=True)
class UploadFile:
    """A file of an upload. `key` is its key in the store, `kind` its type by its first bytes (None: not an image)."""

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
    """When it was created, or its last file was added."""
    files: int = 0
    images: int = 0
    """Files that are accepted images by their first bytes. The column and the REST API call them `pictures`."""
    size_bytes: int = 0
    owner: str = ""
    """The name of the API key that created it; empty without API keys."""


@dataclass(frozen=True)
class Applied:
    """What a batch of events changed in one job."""

    job: Job
    """As it is now."""
    finished: bool
    """Whether this batch ended the job."""
    stale_results: list[str]
    """Store keys of results of cancelled images, which finished too late."""


class Preset(NamedTuple):
    """A job document without images, as JSON, that an owner keeps under a name."""

    name: str
    document: str
    changed_at: float


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


class JobFilters(TypedDict, total=False):
    """Which jobs are listed. `search` is a part of the name, in any case, or the beginning of the id."""

    state: JobState | None
    label: tuple[str, str] | None
    search: str


class Repository(Protocol):
    """Jobs, images and uploads. Each method is one transaction and may be called from any thread.

    Every method raises UnavailableError if the database is unreachable, and those that change a job raise
    JobNotFoundError if there is none. Methods that take the id of a job or upload without a scope expect that the
    caller has read it before.
    """

    def create_job(self, job: Job) -> None:
        """Create a job in state `receiving`, which is not listed or dispatched yet.

        Raises:
            ConflictError: another job in any state has its idempotency key.
        """

    def add_images(self, job: str, images: Iterable[Image]) -> int:
        """Add images to a receiving job, in batches of bounded size; return how many.

        An image in state `failed` (with `error`) has failed already, in operation `resume_step`, and is counted as
        such. If iterating over `images` raises, those added before stay until the job is discarded.

        After the first batch, pending images of which no more than name, stem, source and size is known are packed:
        they are found as all others, but `take_pending` takes them only after `unpack_images`. Their ids ascend, and
        the caller sees to it that no other image has their name or stem.

        Raises:
            ConflictError: the job is no longer receiving.
            DuplicateImageError: two images that are not packed have the same id, name or stem.
        """

    def accept_job(self, job: str, skipped: dict[str, Any] | None = None) -> Job:
        """Set a receiving job to `accepted`, or to a terminal state if all its images have failed already.

        `skipped`, what was left out of it, becomes that field of its document.

        Raises:
            ConflictError: the job is no longer receiving.
        """

    def create_accepted(self, job: Job, batch: Sequence[Image]) -> Job:
        """Create a job with a few images, and accept it, in one transaction; return it.

        Raises:
            ConflictError: as `create_job` and `add_images`.
        """

    def create_dispatched(self, job: Job, batch: Sequence[Image]) -> Job:
        """Create a job whose images, all of them pending, are dispatched at once: as `create_accepted`, then queued.

        Raises:
            ConflictError: as `create_job` and `add_images`.
            UnavailableError: another coordinator leads.
        """

    def discard_receiving(self, job: str | None = None, *, before: float | None = None) -> list[str]:
        """Delete one job that is still receiving, or all of them (created before a time); return their ids."""

    def get_job(self, job: str, scope: Scope) -> Job | None:
        """Return a job in scope, unless it is still receiving."""

    def find_by_key(self, idempotency_key: str) -> Job | None:
        """Return the job with an idempotency key, in any state."""

    def list_jobs(
        self,
        scope: Scope,
        *,
        limit: int,
        before: str | None = None,
        **filters: Unpack[JobFilters],
    ) -> list[Job]:
        """Return jobs in scope, newest first; only those older than job `before` (ids sort by time of creation).

        Transient ones are among them only with a label or a search.
        """

    def count_found_jobs(self, scope: Scope, **filters: Unpack[JobFilters]) -> int:
        """Count the jobs that `list_jobs` returns in all pages together."""

    def count_open_jobs(self) -> int:
        """Count jobs that are receiving, accepted or running."""

    def count_jobs(self) -> dict[JobState, int]:
        """Count jobs by state; states without jobs may be missing."""

    def dispatchable(self) -> list[Job]:
        """Return open jobs that have pending images, highest priority first, then oldest first."""

    def open_jobs(self) -> list[Job]:
        """Return jobs that are accepted or running."""

    def get_image(self, job: str, image: int) -> Image | None:
        """Return an image. Here and below, images of a receiving job are not found."""

    def image_by_name(self, job: str, name: str) -> Image | None:
        """Return the image with a name, which is unique in its job."""

    def image_by_stem(self, job: str, stem: str) -> Image | None:
        """Return the image whose results are named after `stem`, which is unique in its job."""

    def list_images(
        self, job: str, *, state: ImageState | None = None, code: str | None = None, after: int = -1, limit: int
    ) -> list[Image]:
        """Return images with an id greater than `after`, in the order of their ids; with `code`, failed ones of it.

        Here and below, the images of one call have a bounded size: there are fewer than `limit`, but at least one, if
        they have many results or regions.
        """

    def list_failures(self, job: str, *, after: int, limit: int) -> list[Image]:
        """Return failed images with a `failure_number` greater than `after`, in the order of these numbers."""

    def list_members(self, job: str, group: int, *, after: str = "", limit: int) -> list[Image]:
        """Return the images of a group that are done, in the order of their names, with names greater than `after`."""

    def list_places(self, job: str, most: int) -> list[PlacedImages]:
        """Return where a job's images were taken; at most about `most` places: the closest images are one place."""

    def unpack_images(self, job: str) -> int:
        """Unpack a job's next packed images, a batch of bounded size; return how many, 0 if there are none left."""

    def take_pending(self, job: str, limit: int) -> list[Image]:
        """Set the job's first pending images to `queued` and the job to `running`; return the images as they were."""

    def mark_running(self, events: Sequence[Event]) -> None:
        """Set the queued images of `started` events to `running`, unless the events are of an earlier run."""

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        """Apply `finished` events: each image ends once, even if events arrive twice or late.

        Outcomes of another run than the job's, or of images that have ended, change nothing. The last image of a group
        lets it be dispatched. With its last image the job becomes `succeeded` (all done), `partial` or `failed` (none
        done), once. Counters, step totals (operations before the failing one count as done, the failing one as failed)
        and failure numbers change in the same transaction. Returns one entry for each existing job among the events.
        """

    def lead(self, term: int | None) -> None:
        """Set the fencing token; None if there is none.

        Once a later term has begun, `create_dispatched`, `unpack_images`, `take_pending`, `requeue_in_flight`,
        `take_webhook_events` and `put_status` raise UnavailableError.
        """

    def in_flight(self, job: str) -> dict[int, int]:
        """Return the ids of a job's queued and running images, in order, and each one's `resume_step`."""

    def requeue_in_flight(self, job: str | None = None, images: Sequence[int] | None = None) -> int:
        """Set queued and running images, whose messages were lost, to pending; return how many.

        All of them, those of one job, or given ones of one job.
        """

    def cancel_job(self, job: str) -> Job:
        """Cancel a job and all its images that have not ended; a cancelled job stays as it is.

        Raises:
            ConflictError: the job has ended in another state.
        """

    def retry_job(
        self, job: str, images: Sequence[int] | None = None, *, everything: bool = False, code: str | None = None
    ) -> tuple[Job, int]:
        """Set failed images to pending, and the job to `running` in a new run.

        Those given; without any, those that a retry may help; with `everything`, all of them. With `code`, only those
        with this error code.

        Their `resume_*` fields, timings and attempts stay; step totals no longer count them. Without failed images
        nothing changes. Their groups run again and are retried, too. Returns the job and how many images are retried.

        Raises:
            ConflictError: the job was cancelled or has not ended.
            ImageNotFailedError: one of the images has not failed.
        """

    def delete_job(self, job: str) -> Job:
        """Delete a job that has ended, and its images; return the job.

        Raises:
            ConflictError: the job has not ended.
        """

    def expire_job(self, at: float) -> Job | None:
        """Delete the job that expired first, if one has at a time (seconds since the epoch), and its images.

        Jobs whose images an open job reads stay. Returns the deleted job; None without one.
        """

    def delete_ended(self, ids: Sequence[str]) -> list[Job]:
        """Delete those of some jobs that have ended, and their images, in one transaction; return them.

        For a few jobs with few images; others and jobs that don't exist are left out.
        """

    def create_upload(self, upload: Upload) -> None:
        """Create an upload."""

    def get_upload(self, upload: str, scope: Scope) -> Upload | None:
        """Return an upload in scope, unless it was discarded."""

    def add_upload_file(self, upload: str, file: UploadFile, at: float) -> UploadFile:
        """Add a stored file to an upload; return the file that has its name now: this one, or an earlier one.

        Raises:
            ConflictError: a job reads the upload already, and there is no earlier file of that name.
            UploadNotFoundError: no such upload.
        """

    def get_upload_file(self, upload: str, name: str) -> UploadFile | None:
        """Return a file of an upload by its name."""

    def list_upload_files(self, upload: str, *, after: str = "", limit: int) -> list[UploadFile]:
        """Return the files of an upload with names greater than `after`, in the order of their names."""

    def discard_uploads(self, upload: str | None = None, *, before: float | None = None) -> list[str]:
        """Delete one upload, or all last changed before a time, unless a job in any state reads it.

        Returns the ids of the deleted ones. A job that is created later finds no files in them.
        """

    def uploads_in_use(self, uploads: Sequence[str]) -> set[str]:
        """Return those of the uploads that a job reads, or that were created and not discarded."""

    def open_uploads(self, owner: str) -> OpenUploads:
        """Count the uploads that no job reads."""

    def usage(self, owner: str, at: float) -> Usage:
        """Return an owner's usage at a time (seconds since the epoch), including receiving jobs.

        Images count for the day on which their job is accepted, even after the job is deleted.
        """

    def stored_bytes(self, scope: Scope) -> list[StoredBytes]:
        """Return what the store has of each owner in scope, by name; owners without jobs and uploads may be missing."""

    def begin_session(self, session: str, key_hash: str, at: float, expires_at: float, most: int) -> None:
        """Store a session, which is logged in with the API key of this hash.

        Sessions that have expired are deleted, and so are the oldest ones of the key if it had more than `most`.
        """

    def find_session(self, session: str, at: float) -> str | None:
        """Return the hash of a session's API key; None if there is no such session or it has expired."""

    def end_session(self, session: str) -> None:
        """Delete a session."""

    def list_presets(self, owner: str) -> list[Preset]:
        """Return an owner's presets by name."""

    def get_preset(self, owner: str, name: str) -> Preset | None:
        """Return one of an owner's presets; None if there is none."""

    def put_preset(self, owner: str, preset: Preset, most: int) -> bool | None:
        """Store a preset, or replace the one of that name; return whether it is new.

        Return None, and store nothing, if the owner has `most` others already.
        """

    def delete_preset(self, owner: str, name: str) -> bool:
        """Delete a preset; return whether there was one."""

    def take_webhook_events(self, at: float, limit: int, until: float) -> list[WebhookEvent]:
        """Return webhook events that are due at a time, earliest first, and postpone them to `until`.

        The transaction that ends a job with a `webhook_url` adds an event that is due at once. It is deleted with its
        job.
        """

    def record_delivery(self, event: WebhookEvent, attempt: DeliveryAttempt, retry_at: float | None) -> None:
        """Add an attempt to an event: now it is delivered, or due at `retry_at`, or given up if that is None."""

    def list_webhook_events(self, job: str) -> list[WebhookEvent]:
        """Return a job's webhook events, newest first; only those of its last 100 runs are kept."""

    def totals(self) -> dict[str, int]:
        """Return how many images have ever ended as `done`, as `cancelled`, and with each error code.

        Each image is counted once, in the transaction that ends it (if it failed before its job started: that accepts
        the job). A retried image is counted again when it ends again.
        """

    def count_unstored(self, accepted: Counter[str], ended: Counter[str]) -> None:
        """Count images of jobs that were never stored: by owner among the images accepted today, and in `totals`."""

    def put_status(self, status: str) -> None:
        """Publish the leader's status for the other coordinators; it replaces the last one."""

    def get_status(self) -> tuple[float, str] | None:
        """Return the leader's last status and before it its time (seconds since the epoch, by the database's clock)."""

    def check(self) -> None:
        """Raise UnavailableError unless the database answers."""

    def close(self) -> None:
        """Disconnect."""

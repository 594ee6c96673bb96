"""Jobs: their progress, estimates, and the deliveries of their webhooks."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from penstock.common.model.jobs import TERMINAL_JOB_STATES, JobState
from penstock.common.model.rest.base import RestModel, one_of, with_members

ShownJobState = Annotated[str, one_of(state for state in JobState if state is not JobState.RECEIVING)]
ShownNoticeState = Annotated[str, one_of(("waiting", "delivered", "given_up"))]
Links = Annotated[
    dict[str, str],
    with_members(**{name: {"type": "string"} for name in ("self", "images", "results", "archive", "events", "static")}),
]


class Counts(RestModel):
    """A job's images by state."""

    total: int = 0
    pending: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class FailureGroup(RestModel):
    """Failed images of a job with the same error code, and what helps. A retry may help `retryable` of them."""

    code: str
    images: int
    retryable: int = 0
    help: str = ""


class JobOutput(RestModel):
    """One of a job's outputs: its operations after the shared ones, and how many images of it are done."""

    name: str
    operations: list[dict[str, Any]] = []
    done: int = 0


class StepProgress(RestModel):
    """One operation of a job's plan: images before, in and past it, and the seconds they have taken so far.

    `output` is the output that it belongs to, or `gather` if it is one of groups; null for an operation of all images.
    With `joined`, the same workers do it right after the operation before, so that no image waits in between.
    """

    step: str
    output: str | None = None
    joined: bool = False
    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0


class Throughput(RestModel):
    """Images done and failed in equal intervals of a job's working time, which leaves out pauses between runs."""

    interval_seconds: int = 1
    done: list[int] = []
    failed: list[int] = []


class WebhookSummary(RestModel):
    """A job's webhook: scheme and host of its URL, and the path of its deliveries."""

    receiver: str
    deliveries: str = ""


class JobSummary(RestModel):
    """A job in a list. `owner` is the name of the API key that created it; null if the server needs no key.

    `worked_seconds` is how long its runs took so far, without the pauses between them; null before it started. At
    `expires_at` it is deleted; null while it is open, and if it is kept until somebody deletes it. `upload_bytes` were
    sent for it, perhaps for several jobs at once; `result_bytes` are those of its results that this server stores. With
    several `outputs`, `operations` are those of all images, and each output of an image counts as an image. So does
    each group of a job that ends with `gather`.
    """

    id: str
    url: str = ""
    state: ShownJobState
    owner: str | None = None
    name: str = ""
    labels: dict[str, str] = {}
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    worked_seconds: float | None = None
    expires_at: datetime | None = None
    upload_bytes: int = 0
    result_bytes: int = 0
    images: Counts = Counts()
    failures: list[FailureGroup] = []
    operations: list[dict[str, Any]] = []
    outputs: list[JobOutput] = []

    @property
    def has_ended(self) -> bool:
        """Whether its state is final unless it is retried."""
        return self.state in TERMINAL_JOB_STATES


class SkippedFile(RestModel):
    """A file that is no input of a job. `reason` completes "… is …"."""

    name: str
    reason: str


class Skipped(RestModel):
    """How many files in a job's inputs were left out, and the first hundred of them."""

    count: int = 0
    first: list[SkippedFile] = []


class JobForecast(RestModel):
    """When a job with a deadline or a highest price will end, and the replicas of each step that it takes.

    `feasible` says whether deadline and price can be kept. `price` is that of the images left; null where the server
    has no prices. All is null until every step of the job was measured.
    """

    finishes_at: datetime | None = None
    feasible: bool | None = None
    replicas: dict[str, int] = {}
    price: float | None = None


class Job(JobSummary):
    """A job with its plan and progress.

    `source` names its inputs in short, such as `delft/ and 3 more`; null if its files were sent. `run` counts its
    retries; `bottleneck` is the step that limits its throughput; `waiting_for` is what keeps its images from being
    processed, such as `store full (12 kB free)`; `forecast` is there while a job with a deadline or a highest price is
    open. `expire_after_seconds` is how long it is kept after its end. The client library reads the entries of a list as
    jobs too; they have no plan, progress or links.
    """

    priority: int = 0
    weight: int = 1
    source: str | None = None
    chunk_size: int | None = None
    on_failure: str = "continue"
    deadline: datetime | None = None
    max_price: float | None = None
    forecast: JobForecast | None = None
    run: int = 0
    expire_after_seconds: float | None = None
    steps: list[StepProgress] = []
    images_per_second: float | None = None
    eta_seconds: float | None = None
    bottleneck: str | None = None
    waiting_for: str | None = None
    throughput: Throughput = Throughput()
    skipped: Skipped = Skipped()
    webhook: WebhookSummary | None = None
    links: Links = Field(default_factory=dict)  # in OpenAPI, {} would be a default without its required members


class Retried(Job):
    """A job after a retry; `retried` is how many of its images are retried."""

    retried: int = 0


class JobPage(RestModel):
    """Jobs, newest first. `cursor` and `next` lead to the next page; null on the last one. `total` is of all pages."""

    jobs: list[JobSummary]
    total: int
    cursor: str | None
    next: str | None


class RetryRequest(BaseModel, extra="forbid"):
    """Which failed images to retry: those in `images`, else those whose error says `retry`, or with `all` every one.

    With `code`, only those with this error code.
    """

    images: Annotated[list[Annotated[int, Field(ge=0, le=2**53)]] | None, Field(min_length=1)] = None
    all: bool = Field(default=False, description="Also those that a retry is not expected to help")
    code: Annotated[str | None, Field(min_length=1, max_length=60)] = None

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        if self.images is not None and (self.all or self.code is not None):
            raise ValueError(f"both images and {'all' if self.all else 'code'}; accepted is one of them")
        return self


class StepEstimate(RestModel):
    """One operation of a plan; seconds are null until some were measured."""

    step: str
    seconds_per_image: float | None
    seconds: float | None


class Estimate(RestModel):
    """What a job would do. `failing` images are known to fail; seconds of steps are those of one worker.

    With several outputs, `results_per_image` are those of all outputs of one file. The numbers of results are null
    where they depend on the images' sizes. `seconds` is how long the job would take with the workers that there are,
    besides other open jobs; null until that was measured.
    """

    valid: bool = True
    operations: list[dict[str, Any]]
    outputs: list[JobOutput] = []
    images: int
    failing: int
    skipped: Skipped = Skipped()
    results_per_image: int | None
    results: int | None
    steps: list[StepEstimate]
    seconds: float | None = None
    forecast: JobForecast | None = None


class ProcessedJob(RestModel):
    """A job of a `/process` request: its URL, and the folder of its files."""

    id: str
    url: str
    static: str


class Processed(RestModel):
    """One job for each action document, in their order."""

    jobs: list[ProcessedJob]


class Delivery(RestModel):
    """One attempt to deliver a webhook event. `status` is the receiver's answer; `error` is null if it was accepted."""

    at: datetime
    seconds: float = 0.0
    status: int | None = None
    error: str | None = None


class Notice(RestModel):
    """A webhook event: one end of a job. It is `waiting` (until `next_at`), `delivered` or `given_up`.

    `id` is the one the receiver gets; `deliveries` are the latest attempts, oldest first.
    """

    id: str
    run: int = 0
    job_state: ShownJobState
    state: ShownNoticeState
    next_at: datetime | None = None
    deliveries: list[Delivery] = []


class NoticeList(RestModel):
    """A job's webhook events, newest first; a job that is retried ends again."""

    events: list[Notice]

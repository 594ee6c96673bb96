"""REST models: the server's responses, which the client library reads.

The client ignores fields and accepts states that it does not know, so that a server may be newer. Fields that the
server always sends have a default only where a client can do without them; OpenAPI shows them as required.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from penstock.common.model.jobs import TERMINAL_JOB_STATES, ImageState, JobState
from penstock.common.model.regions import Region, is_empty


def _one_of(values: Iterable[str]) -> Any:
    return Field(json_schema_extra={"enum": [str(value) for value in values]})


def _with_members(**schemas: Any) -> Any:
    return Field(json_schema_extra={"properties": schemas, "required": list(schemas)})


ShownJobState = Annotated[str, _one_of(state for state in JobState if state is not JobState.RECEIVING)]
ShownImageState = Annotated[str, _one_of(ImageState)]
ShownNoticeState = Annotated[str, _one_of(("waiting", "delivered", "given_up"))]
Links = Annotated[
    dict[str, str],
    _with_members(
        **{name: {"type": "string"} for name in ("self", "images", "results", "archive", "events", "static")}
    ),
]
OperationExample = Annotated[
    dict[str, Any], _with_members(short={"type": "array", "items": {}}, long={"type": "object"})
]


class RestModel(BaseModel):
    """Base of all responses."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_serialization_defaults_required=True)


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    code: str = Field(description="Stable, for programs", examples=["unknown_operation"])
    detail: str = Field(
        description="What was wrong, with which value, and what is accepted",
        examples=[
            "no operation 'sharpen'; accepted are decode, resize, crop, rotate, tile, split, adjust, blur, encode"
        ],
    )
    pointer: str | None = Field(
        default=None, description="Where in the request's document (RFC 6901)", examples=["/operations/0"]
    )


# Jobs


class Counts(RestModel):
    """A job's images by state."""

    total: int = 0
    pending: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class StepProgress(RestModel):
    """One operation of a job's plan: images before, in and past it, and the seconds they have taken so far."""

    step: str
    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0


class WebhookSummary(RestModel):
    """A job's webhook: scheme and host of its URL, and the path of its deliveries."""

    receiver: str
    deliveries: str = ""


class JobSummary(RestModel):
    """A job in a list. `owner` is the name of the API key that created it; null if the server needs no key."""

    id: str
    url: str = ""
    state: ShownJobState
    owner: str | None = None
    name: str = ""
    labels: dict[str, str] = {}
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    images: Counts = Counts()
    operations: list[dict[str, Any]] = []

    @property
    def has_ended(self) -> bool:
        """Whether its state is final unless it is retried."""
        return self.state in TERMINAL_JOB_STATES


class Job(JobSummary):
    """A job with its plan and progress.

    `run` counts its retries; `bottleneck` is the step that limits its throughput. The client library reads the entries
    of a list as jobs too; they have no plan, progress or links.
    """

    priority: int = 0
    weight: int = 1
    chunk_size: int | None = None
    on_failure: str = "continue"
    run: int = 0
    steps: list[StepProgress] = []
    images_per_second: float | None = None
    eta_seconds: float | None = None
    bottleneck: str | None = None
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
    """Which failed images to retry; all of them if `images` is missing."""

    images: Annotated[list[Annotated[int, Field(ge=0, le=2**53)]] | None, Field(min_length=1)] = None


class StepEstimate(RestModel):
    """One operation of a plan; seconds are null until some were measured."""

    step: str
    seconds_per_image: float | None
    seconds: float | None


class Estimate(RestModel):
    """What a job would do. `failing` images are known to fail; seconds are those of one worker.

    The numbers of results are null where they depend on the images' sizes.
    """

    valid: bool = True
    operations: list[dict[str, Any]]
    images: int
    failing: int
    results_per_image: int | None
    results: int | None
    steps: list[StepEstimate]


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


# Images and results


class ImageError(RestModel):
    """Why an image failed; `retry` says whether a retry may help."""

    code: str
    message: str = ""
    step: str | None = None
    retry: bool = False


class Timing(RestModel):
    """Seconds that an image waited for one operation of its plan, and that the operation took."""

    step: str
    wait_seconds: float = 0.0
    work_seconds: float = 0.0


class Result(RestModel):
    """One result of an image. `location` is its URL in the user's bucket; null if this server stores it.

    `regions` are in its pixels; `warnings` are codes for what it lacks of the source, such as `depth_reduced`. Both are
    left out where there are none.
    """

    image: int
    name: str
    size: int
    media_type: str
    width: int
    height: int
    sha256: str
    url: str
    location: str | None = None
    regions: tuple[Region, ...] = Field(default=(), exclude_if=is_empty)
    warnings: tuple[str, ...] = Field(default=(), exclude_if=is_empty)


class Image(RestModel):
    """One image of a job."""

    id: int
    name: str
    state: ShownImageState
    size: int | None = None
    attempts: int = 0
    sent: str = ""
    results: list[Result] = []
    error: ImageError | None = None
    steps: list[Timing] = []


class ImagePage(RestModel):
    """Images in the order they were sent. A page may have fewer than `limit`, even if it is not the last."""

    images: list[Image]
    cursor: str | None
    next: str | None


class ResultPage(RestModel):
    """Results in the order of their images."""

    results: list[Result]
    cursor: str | None
    next: str | None


# Uploads


class UploadedFile(RestModel):
    """A file of an upload. `media_type` is found from its first bytes; null if it is no image that is accepted."""

    name: str
    size: int
    media_type: str | None = None
    sha256: str


class Upload(RestModel):
    """Files that are sent one by one, for jobs to read. `pictures` of the `count` files are images."""

    id: str
    url: str
    changed_at: datetime
    count: int = 0
    pictures: int = 0
    size: int = 0


class UploadPage(Upload):
    """An upload with its files by name. `cursor` and `next` lead to the next page; null on the last one."""

    files: list[UploadedFile]
    cursor: str | None
    next: str | None


# The system


class Operation(RestModel):
    """An operation that jobs can name; `parameters` is the JSON Schema of the long form's fields."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    example: OperationExample | None = None


class OperationList(RestModel):
    """Every operation, custom steps included."""

    operations: list[Operation]


class Format(RestModel):
    """A type of image file that is read: `name` for people, and the suffixes that its files usually have."""

    type: str
    name: str
    media_type: str
    suffixes: list[str]


class SignaturePart(RestModel):
    """Bytes, in hexadecimal, that files of a type have at an offset."""

    offset: int
    bytes: str


class Signature(RestModel):
    """The name of a type of file, and the parts by which it is known."""

    name: str
    parts: list[SignaturePart]


class FormatList(RestModel):
    """The types that are read, and the signatures of these and others: the first one that matches names a file."""

    formats: list[Format]
    signatures: list[Signature] = []


class Replicas(RestModel):
    """Replicas of a step's Deployment in Kubernetes. Elsewhere `ready` counts its workers and `desired` is null."""

    desired: int | None = None
    ready: int = 0


class Step(RestModel):
    """A step over all jobs. Values that have not been measured yet are null.

    `shared_with` are steps that the same workers serve.
    """

    name: str
    replicas: Replicas = Replicas()
    workers: int = 0
    ready: int = 0
    in_flight: int = 0
    remaining: int = 0
    seconds_per_image: float | None = None
    backlog_seconds: float | None = None
    utilisation: float | None = None
    bottleneck: bool = False
    shared_with: list[str] = []


class Advice(RestModel):
    """Which step limits throughput, and how many more replicas would help. `sentence` is the same as text.

    `steps` are those that the same workers serve, `step` included; `replicas_now` are those wanted already;
    `finishes_in_seconds` is how long the work takes with `replicas_more`; `next_step` limits throughput then.
    """

    sentence: str
    step: str
    steps: list[str] = []
    busy: float | None = None
    backlog_seconds: float | None = None
    replicas_now: int = 0
    replicas_more: int = 0
    finishes_in_seconds: float | None = None
    next_step: str | None = None
    command: str | None = None


class System(RestModel):
    """Every step; `bottleneck` names the one that limits throughput; `advice` is null where no work is left."""

    steps: list[Step]
    bottleneck: str | None = None
    advice: Advice | None = None


class Backlog(RestModel):
    """Work left for some steps together, in seconds of one worker; estimated until measured."""

    steps: list[str]
    backlog_seconds: float
    remaining: int
    workers: int


class Login(BaseModel, extra="forbid"):
    """What a browser logs in with."""

    key: Annotated[str, Field(max_length=200, repr=False)]


class Session(RestModel):
    """The caller. Where the server is `open`, it needs no key, and `name` is null."""

    open: bool
    name: str | None
    admin: bool

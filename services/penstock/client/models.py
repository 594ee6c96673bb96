"""What the server answers, typed. Fields that are not known here are passed over, so that servers may be newer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from penstock.common.model.jobs import TERMINAL_JOB_STATES


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Counts(_Answer):
    """Images of a job by state."""

    total: int = 0
    pending: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class StepProgress(_Answer):
    """One operation of a job's plan: images before it, in it, and past it; and their seconds so far."""

    step: str
    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0


class Webhook(_Answer):
    """Who is told when a job has ended: scheme and host of its URL. `deliveries` is the path of what became of it."""

    receiver: str
    deliveries: str = ""


class Job(_Answer):
    """A job. In a list it comes without its plan, without progress and without links.

    `state` is `accepted`, `running`, `succeeded`, `partial`, `failed` or `cancelled`; `owner` the name of the API key
    that sent it; `links` are paths of this server.
    """

    id: str
    url: str = ""
    state: str
    owner: str | None = None
    name: str = ""
    labels: dict[str, str] = {}
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    images: Counts = Counts()
    operations: list[dict[str, Any]] = []
    priority: int = 0
    weight: int = 1
    chunk_size: int | None = None
    on_failure: str = "continue"
    run: int = 0
    steps: list[StepProgress] = []
    images_per_second: float | None = None
    eta_seconds: float | None = None
    bottleneck: str | None = None
    webhook: Webhook | None = None
    links: dict[str, str] = {}

    @property
    def has_ended(self) -> bool:
        """Whether it is in a state that it doesn't leave by itself."""
        return self.state in TERMINAL_JOB_STATES


class Retried(Job):
    """A job after a retry, and how many of its images are tried again."""

    retried: int = 0


class Delivery(_Answer):
    """One attempt to tell of a job's end. `status` is the answer's; `error`: why it did not count, None if it did."""

    at: datetime
    seconds: float = 0.0
    status: int | None = None
    error: str | None = None


class Notice(_Answer):
    """One end of a job, told to its webhook: `waiting` (until `next_at`), `delivered` or `given_up`.

    `id` is what the receiver knows it by; `deliveries` are the newest attempts, oldest first.
    """

    id: str
    run: int = 0
    job_state: str
    state: str
    next_at: datetime | None = None
    deliveries: list[Delivery] = []


class ImageError(_Answer):
    """Why an image failed; `retry` says whether trying again may help."""

    code: str
    message: str = ""
    step: str | None = None
    retry: bool = False


class Result(_Answer):
    """One file that an image became; `url` is where this server has it, `location` its place in a bucket."""

    image: int
    name: str
    size: int
    media_type: str
    width: int
    height: int
    sha256: str
    url: str
    location: str | None = None


class Timing(_Answer):
    """Seconds that an image waited for and was worked on in one operation."""

    step: str
    wait_seconds: float = 0.0
    work_seconds: float = 0.0


class Image(_Answer):
    """One image of a job: `pending`, `queued`, `running`, `done`, `failed` or `cancelled`."""

    id: int
    name: str
    state: str
    size: int | None = None
    attempts: int = 0
    sent: str = ""
    results: list[Result] = []
    error: ImageError | None = None
    steps: list[Timing] = []


class Operation(_Answer):
    """An operation that jobs can name; `parameters` is the JSON Schema of its long form's fields."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    example: dict[str, Any] | None = None


class Replicas(_Answer):
    """How many processes of a step there should be (None: nobody says) and are."""

    desired: int | None = None
    ready: int = 0


class Step(_Answer):
    """A step over all jobs. What was not measured yet is None; `bottleneck`: it holds the system back.

    `shared_with`: steps that the same workers serve.
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


class Advice(_Answer):
    """What holds the system back, and how many replicas more would change it; `sentence` says all of it."""

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


class System(_Answer):
    """All steps at one moment, and what would bring their work to its end sooner; None where there is none."""

    steps: list[Step]
    bottleneck: str | None = None
    advice: Advice | None = None


class UploadedFile(_Answer):
    """A file that has arrived; `media_type` is None for what is no picture by its first bytes."""

    name: str
    size: int
    media_type: str | None = None
    sha256: str


class Upload(_Answer):
    """Files that are sent one by one, for jobs to read."""

    id: str
    url: str
    changed_at: datetime | None = None
    count: int = 0
    pictures: int = 0
    size: int = 0


class Event(_Answer):
    """One event of a job: `progress`, `image-failed` or `end`, with what it tells."""

    kind: str
    id: str | None = None
    data: dict[str, Any] = {}

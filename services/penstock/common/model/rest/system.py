"""The system: operations, formats, steps, workers and advice."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from penstock.common.model.rest.base import RestModel, with_members

OperationExample = Annotated[
    dict[str, Any], with_members(short={"type": "array", "items": {}}, long={"type": "object"})
]


class Operation(RestModel):
    """An operation that jobs can name: `title` is what people call it.

    `parameters` is the JSON Schema of the long form's fields. For forms, `x-titles` in a field's schema says what
    people call the values of a choice, and `x-when` with which values of other fields it has an effect. An operation
    with `group` is a step for groups, which jobs name in `gather`.
    """

    name: str
    title: str = ""
    description: str = ""
    parameters: dict[str, Any] = {}
    group: bool = False
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
    """The name of a type of file, and the parts by which it is known; `image`: whether it is one of images."""

    name: str
    parts: list[SignaturePart]
    image: bool = False


class FormatList(RestModel):
    """The types that are read, and the signatures of these and others: the first one that matches names a file.

    `max_file_bytes` is the largest file that is accepted.
    """

    formats: list[Format]
    signatures: list[Signature] = []
    max_file_bytes: int | None = None


class Replicas(RestModel):
    """Replicas of a step's Deployment in Kubernetes. Elsewhere `ready` counts its workers and `desired` is null."""

    desired: int | None = None
    ready: int = 0


class Step(RestModel):
    """A step over all jobs. Values that have not been measured yet are null.

    `shared_with` are steps that the same workers serve; `wanted_workers` is how many should. `waiting_workers` of its
    workers wait for what `waiting_for` says, such as `store full (12 kB free)`.
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
    images_per_second: float | None = None
    bottleneck: bool = False
    shared_with: list[str] = []
    wanted_workers: int = 0
    waiting_workers: int = 0
    waiting_for: str | None = None


class StepLoads(RestModel):
    """A step's load at equal intervals, oldest first; null where it was not measured."""

    name: str
    utilisation: list[float | None]
    backlog_seconds: list[float | None]
    images_per_second: list[float | None]
    replicas: list[int | None]


class StepHistory(RestModel):
    """Every step over the last hour, as this coordinator saw it since its start. The last point is `seconds_ago`."""

    interval_seconds: int
    seconds_ago: float
    steps: list[StepLoads]


class Dependency(RestModel):
    """The store, the broker or the database: `ok`, `nearly full`, `full` or `away`; `problem` says what to do."""

    name: str
    state: str
    problem: str | None = None


class Worker(RestModel):
    """A worker process. `step` is what it works on, since `seconds`; null while it is idle."""

    host: str
    process: str
    version: str | None = None
    steps: list[str]
    step: str | None = None
    seconds: float | None = None
    waiting_for: str | None = None


class Status(RestModel):
    """The server's version, what it needs, and its workers: at most 500, those that told within the last minute."""

    version: str
    dependencies: list[Dependency]
    problems: dict[str, str] = {}
    workers: list[Worker]


class Advice(RestModel):
    """Which step limits throughput, and how many more replicas would help. `sentence` is the same as text.

    `steps` are those that the same workers serve, `step` included; `replicas_now` are those wanted already;
    `finishes_in_seconds` is how long the work takes with `replicas_more`; `next_step` limits throughput then.
    `deadline_replicas` are those that the deadlines of jobs take.
    """

    sentence: str
    step: str
    steps: list[str] = []
    busy: float | None = None
    backlog_seconds: float | None = None
    replicas_now: int = 0
    replicas_more: int = 0
    deadline_replicas: int = 0
    finishes_in_seconds: float | None = None
    next_step: str | None = None
    command: str | None = None


class System(RestModel):
    """Every step; `bottleneck` names the one that limits throughput; `advice` is null where no work is left."""

    steps: list[Step]
    bottleneck: str | None = None
    advice: Advice | None = None


class Backlog(RestModel):
    """Work left for some steps together, in seconds of one worker; estimated until measured.

    `wanted_workers` is how many workers should serve them, for the deadlines of jobs and all other work.
    """

    steps: list[str]
    backlog_seconds: float
    remaining: int
    workers: int
    wanted_workers: int = 0


class Login(BaseModel, extra="forbid"):
    """What a browser logs in with."""

    key: Annotated[str, Field(min_length=1, max_length=200, repr=False)]


class Session(RestModel):
    """The caller. Where the server is `open`, it needs no key, and `name` is null."""

    open: bool
    name: str | None
    admin: bool

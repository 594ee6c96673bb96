"""Messages between coordinator and workers: public, versioned JSON with references to pixels, never pixels.

Their JSON Schema is in `docs/messages/`. Readers ignore unknown fields and refuse an unknown `v`, so that two versions
can run side by side during an upgrade.
"""

import json
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from penstock.common.model.errors import PenstockError
from penstock.common.model.regions import Place, Region, Regions, is_empty
from penstock.common.model.result_names import PARTS
from penstock.common.wording.faults import first_fault

VERSION = 1
EVENTS_QUEUE = "penstock.events"
DEAD_LETTER_QUEUE = "penstock.dead"
CHUNK_SECS = 0.06
"""Work of one chunk in its slowest step. A message costs about a millisecond, which is little beside it."""
MAX_CHUNK = 8


def step_queue(step: str) -> str:
    """Return the name of the queue that feeds a step."""
    return f"penstock.step.{step}"


class MessageError(PenstockError):
    """A message that cannot be parsed: no JSON, missing fields, or another version."""


class _Message(BaseModel, extra="ignore"):
    """Base of all messages."""


class StepTime(_Message):
    """Seconds that one image waited for a step and was processed by it; `step` is an index into the plan."""

    step: int
    wait: float
    work: float


class ImageRef(_Message):
    """One image of a chunk.

    Its results are named after `stem`, which is unique in the job. `ref` is its source: a store key, or a `file://`
    URL. `regions` are those that came with it, or where its sidecar file is. `parts` is how many parts of it are in the
    chunk's blob, from `slot` on; 0 while it is still its source.
    """

    id: int
    stem: str
    ref: str
    slot: int = 0
    parts: int = 0
    timings: list[StepTime] = []
    regions: Regions | str = Field(default=(), exclude_if=is_empty)


class Chunk(_Message):
    """One or more images of one job, for the operation at index `step` of their plan.

    `run` counts the job's retries, which tells the events of an earlier run apart. `blob` is the store key of the
    images' pixels (safetensors), None if the step reads the sources; `pixels` is their number, 0 if unknown. `results`
    is the store prefix of the results, `names` the template of their names. `alone` marks an image that was split from
    a redelivered chunk: it shares the blob with others, and its attempts are counted once a worker has died while
    processing it. `attempt` counts how often the chunk was requeued because of an error that its images may have
    caused. `restarted` tells that the images' blob was lost once already. `readers` are the operations of all messages
    that read the blob, if there are several: it is deleted once all are through. A power failure may lose the results
    if they are `volatile`.
    """

    v: Literal[1] = 1
    job: str
    run: int = 0
    chunk: str
    step: int = 0
    plan: list[dict[str, Any]] | str
    images: list[ImageRef]
    blob: str | None = None
    readers: list[int] = Field(default=[], exclude_if=operator.not_)
    pixels: int = 0
    results: str = ""
    volatile: bool = Field(default=False, exclude_if=operator.not_)
    names: str = PARTS
    attempt: int = 1
    alone: bool = False
    restarted: bool = Field(default=False, exclude_if=operator.not_)
    enqueued_at: float = 0.0
    traceparent: str | None = None


class Result(_Message):
    """One output file of an image. `key` is its key in the store; `sha256` is in hex.

    `regions` are in its pixels; `warnings` are codes for what it lacks of the source, such as `depth_reduced`; `place`
    is what its metadata say.
    """

    key: str
    name: str
    size: int
    media_type: str
    width: int
    height: int
    sha256: str
    regions: tuple[Region, ...] = Field(default=(), exclude_if=is_empty)
    warnings: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    place: Place | None = Field(default=None, exclude_if=is_empty)


class Failure(_Message):
    """Why an image failed, in which step, and whether a retry may succeed.

    `resume_blob` is the store key of that step's input, kept so that a retry can continue there.
    """

    code: str
    message: str
    step: str
    retry: bool
    step_index: int = 0
    resume_blob: str | None = None
    resume_parts: int = 0


class Outcome(_Message):
    """The final state of one image. `attempts` is how often it was started.

    `results` of an image that failed are those written before it did, which are to be removed.
    """

    id: int
    state: Literal["done", "failed"]
    results: list[Result] = []
    error: Failure | None = None
    timings: list[StepTime] = []
    attempts: int = 1


class Calls(_Message):
    """A worker's calls of its store or broker, such as `store.get`, since its last report.

    `buckets` counts the calls up to each bound in `metrics.CALL_BOUNDS_SECS`; the last one counts all longer ones.
    """

    what: str
    buckets: list[int]
    seconds: float
    failed: int = 0


class Measures(_Message):
    """A worker's counts since its last report; `chunks` it received, and `redelivered` ones of them, by step.

    `waited` are the seconds that it waited, by step that it serves, for each dependency that could not be used.
    """

    calls: list[Calls] = []
    chunks: dict[str, int] = {}
    redelivered: dict[str, int] = {}
    waited: dict[str, dict[str, float]] = {}


class Event(_Message):
    """A worker's report about a chunk. A message holds one event or a list of them.

    `started`: its work at `step` has begun. `stepped`: it was handed on to `step` and waits in that queue. `finished`:
    `outcomes` are final. `images` are the ids of the images that the first two are about; those events may come late,
    or never if the chunk has already moved on. An event carries `measures` about once a second.

    `waiting_for` says what keeps a worker from working, such as `store full (12 kB free)`. With `stepped`, the worker
    gave the images back for that reason, and they wait in the queue of `step` again. An event without a job, but with
    the `steps` that the worker serves, tells whether it waits (null: it works), and its `version`; it tells at least
    four times a minute, but not while it works on a chunk.
    """

    v: Literal[1] = 1
    kind: Literal["started", "stepped", "finished"]
    job: str
    run: int = 0
    chunk: str
    step: int = 0
    images: list[int] = []
    outcomes: list[Outcome] = []
    worker: str = ""
    measures: Measures | None = None
    waiting_for: str | None = Field(default=None, exclude_if=is_empty)
    steps: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    version: str = Field(default="", exclude_if=is_empty)


def fit_chunk(secs: float, most: int = MAX_CHUNK) -> int:
    """Return how many images of `secs` seconds in their slowest step make a chunk, 1 to `most`."""
    return max(1, min(most, int(CHUNK_SECS / secs) if secs else most))


def read_chunk(body: bytes) -> Chunk:
    """Parse a chunk message; a MessageError gives the reason for the dead-letter queue."""
    return _parse(Chunk.model_validate_json, body)


def read_events(body: bytes) -> list[Event]:
    """Parse a message of `penstock.events`: an event or a JSON list of them. Raises MessageError like `read_chunk`."""
    if body.lstrip()[:1] == b"[":
        return _parse(_EVENTS.validate_json, body)
    return [_parse(Event.model_validate_json, body)]


def write_events(events: Sequence[Event]) -> bytes:
    """Return one message with all events."""
    return b"[" + b",".join(event.model_dump_json().encode() for event in events) + b"]"


def write_dead_letter(queue: str, body: bytes, reason: str) -> bytes:
    """Return the dead-letter message for a message of `queue` that cannot be processed."""
    shown = body.decode("utf-8", "backslashreplace")
    return json.dumps({"queue": queue, "reason": reason, "body": shown}).encode()


T = TypeVar("T")
_EVENTS = TypeAdapter(list[Event])


def _parse(parse: Callable[[bytes], T], body: bytes) -> T:
    try:
        return parse(body)
    except ValidationError as error:
        fault = first_fault(error)
        where = ".".join(fault.path) or "message"
        raise MessageError("unreadable_message", f"{where}: {fault.text}") from error

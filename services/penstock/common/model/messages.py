"""The messages between coordinator and workers: public, versioned JSON that carries references and never pixels.

Their JSON Schema stands in `docs/`. A reader ignores fields that it doesn't know and refuses a `v` that it doesn't
know, so that two versions can run side by side during an upgrade.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from penstock.common.model.errors import PenstockError

VERSION = 1
EVENTS_QUEUE = "penstock.events"
DEAD_LETTER_QUEUE = "penstock.dead"


def step_queue(step: str) -> str:
    """Return the name of the queue that feeds a step."""
    return f"penstock.step.{step}"


class MessageError(PenstockError):
    """A message that cannot be read: not JSON, fields missing, or another version."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")


class StepTime(_Message):
    """Seconds one image waited for and was worked on in one operation of its plan; `step` is the plan's index."""

    step: int
    wait: float
    work: float


class ImageRef(_Message):
    """One image of a chunk.

    `stem` is what its results are named after, unique in the job. `ref` is its source: a store key, or a `file://`
    URL. `parts` is how many pictures of it lie in the chunk's blob (0 while it is still its source), at `slot`.
    """

    id: int
    stem: str
    ref: str
    slot: int = 0
    parts: int = 0
    timings: list[StepTime] = []


class Chunk(_Message):
    """One or more images of one job on their way to the operation at index `step` of their plan.

    `run` counts the job's retries, so that what an earlier run still sends is told apart. `blob` is the store key of
    the images' pixels (safetensors), None where the step reads the sources; `pixels` how many they are, 0 where the
    sender does not say. `results` is the store prefix of the
    results. `alone` marks an image taken out of a chunk that could not be finished: it shares the blob with others,
    and once a worker has died over it its starts are counted. `attempt` counts how often it was given back because
    something the worker stands on was away.
    """

    v: Literal[1] = 1
    job: str
    run: int = 0
    chunk: str
    step: int = 0
    plan: list[dict[str, Any]] | str
    images: list[ImageRef]
    blob: str | None = None
    pixels: int = 0
    results: str = ""
    attempt: int = 1
    alone: bool = False
    enqueued_at: float = 0.0
    traceparent: str | None = None


class Result(_Message):
    """One file that an image became. `key` is its place in the store; `sha256` is in hex."""

    key: str
    name: str
    size: int
    media_type: str
    width: int
    height: int
    sha256: str


class Failure(_Message):
    """Why an image failed, in which step, and whether a retry may help.

    `resume_blob` is the store key of that step's input, kept so that a retry goes on from there.
    """

    code: str
    message: str
    step: str
    retry: bool
    step_index: int = 0
    resume_blob: str | None = None
    resume_parts: int = 0


class Outcome(_Message):
    """What became of one image. `attempts` is how often it was started."""

    id: int
    state: Literal["done", "failed"]
    results: list[Result] = []
    error: Failure | None = None
    timings: list[StepTime] = []
    attempts: int = 1


class Calls(_Message):
    """Calls of one kind that a worker made of its store or broker, such as `store.get`, since it told of them last.

    `buckets` counts those that took up to each of `metrics.CALL_BOUNDS_SECS`, and at its end those that took longer.
    """

    what: str
    buckets: list[int]
    seconds: float
    failed: int = 0


class Measures(_Message):
    """What a worker has counted since it told of it last; `chunks` it took and `redelivered` ones of them, by step."""

    calls: list[Calls] = []
    chunks: dict[str, int] = {}
    redelivered: dict[str, int] = {}


class Event(_Message):
    """What a worker tells of a chunk. A message holds one event, or a list of them.

    `started`: its work at `step` has begun; `stepped`: it went on to `step`, whose queue it now waits in;
    `finished`: `outcomes` are final. `images` are the ids that the first two speak of; they may come late, or not at
    all where the chunk is further already. `measures` come with some event every second or so.
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


def read_chunk(body: bytes) -> Chunk:
    """Parse a chunk message.

    Raises:
        MessageError: with the reason, for the dead-letter queue.
    """
    return _read(Chunk, body)


def read_events(body: bytes) -> list[Event]:
    """Parse a message of `penstock.events`: one event, or a JSON list of them in their order.

    Raises:
        MessageError: with the reason, for the dead-letter queue.
    """
    return _read_list(body) if body.lstrip()[:1] == b"[" else [_read(Event, body)]


def write_events(events: Sequence[Event]) -> bytes:
    """Return events as one message."""
    return b"[" + b",".join(event.model_dump_json().encode() for event in events) + b"]"


def write_dead_letter(queue: str, body: bytes, reason: str) -> bytes:
    """Return the dead-letter message for a message of `queue` that cannot be processed."""
    shown = body.decode("utf-8", "backslashreplace")
    return json.dumps({"queue": queue, "reason": reason, "body": shown}).encode()


M = TypeVar("M", bound=_Message)
_EVENTS = TypeAdapter(list[Event])


def _read(kind: type[M], body: bytes) -> M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _unreadable(error) from error


def _read_list(body: bytes) -> list[Event]:
    try:
        return _EVENTS.validate_json(body)
    except ValidationError as error:
        raise _unreadable(error) from error


def _unreadable(error: ValidationError) -> MessageError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "message"
    return MessageError("unreadable_message", f"{where}: {first['msg']}")

"""Messages: round trips, unknown fields, and other versions, which are refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.common.model.messages import (
    Chunk,
    Event,
    Failure,
    ImageRef,
    MessageError,
    Outcome,
    Result,
    StepTime,
    read_chunk,
    read_events,
    step_queue,
    write_events,
)

IMAGE = ImageRef(
    id=3, stem="a/ü", ref="file:///a/%FC.jpg", slot=1, parts=4, timings=[StepTime(step=0, wait=0.5, work=1)]
)
CHUNK = Chunk(job="j", run=2, chunk="3-ab", step=1, plan=[{"op": "encode"}], images=[IMAGE], blob="work/a/b", attempt=2)
RESULT = Result(key="results/j/a-0.jpg", name="a-0.jpg", size=9, media_type="image/jpeg", width=2, height=1, sha256="0")
FAILURE = Failure(code="step_timeout", message="too long", step="blur", retry=True, step_index=1)
EVENT = Event(
    kind="finished",
    job="j",
    chunk="3-ab",
    outcomes=[Outcome(id=3, state="done", results=[RESULT]), Outcome(id=4, state="failed", error=FAILURE)],
)


def without(message: Any, field: str) -> bytes:
    document = json.loads(message.model_dump_json())
    del document[field]
    return json.dumps(document).encode()


def test_messages_survive_a_round_trip() -> None:
    assert read_chunk(CHUNK.model_dump_json().encode()) == CHUNK
    assert read_events(EVENT.model_dump_json().encode()) == [EVENT]
    started = Event(kind="started", job="j", chunk="3-ab", images=[3, 4])
    assert read_events(write_events([started, EVENT])) == [started, EVENT]


def test_unknown_fields_are_ignored() -> None:
    document = {**json.loads(CHUNK.model_dump_json()), "colour": "red"}
    document["images"][0]["weight"] = 5
    assert read_chunk(json.dumps(document).encode()) == CHUNK


def test_fields_that_have_defaults_may_be_missing() -> None:
    chunk = read_chunk(
        b'{"job": "j", "chunk": "c", "plan": "plans/j.json", "images": [{"id": 0, "stem": "a", "ref": "r"}]}'
    )
    assert (chunk.v, chunk.run, chunk.step, chunk.attempt, chunk.alone, chunk.blob) == (1, 0, 0, 1, False, None)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "message"),
        (b"\xff\xfe", "message"),
        (b"null", "message"),
        (b"[" * 100_000, "message"),
        (without(CHUNK, "job"), "job"),
        (CHUNK.model_dump_json().replace('"v":1', '"v":2').encode(), "v"),
        (CHUNK.model_dump_json().replace('"id":3', '"id":"x"').encode(), "images.0.id"),
        (CHUNK.model_dump_json().replace('"step":1', '"step":1.5', 1).encode(), "step"),
    ],
    ids=["empty", "bytes", "null", "nested", "missing", "version", "type", "fraction"],
)
def test_an_unreadable_message_is_refused_with_the_field(body: bytes, where: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_chunk(body)
    assert caught.value.message.startswith(f"{where}: ")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("kind", ["ended", "", None])
def test_an_event_of_an_unknown_kind_is_refused(kind: Any) -> None:
    body = json.dumps({"kind": kind, "job": "j", "chunk": "c"}).encode()
    with pytest.raises(MessageError, match=r"^kind: "):
        read_events(body)
    with pytest.raises(MessageError, match=r"^1\.kind: "):
        read_events(b"[" + EVENT.model_dump_json().encode() + b"," + body + b"]")


def test_a_chunk_of_eight_images_with_usual_names_is_under_4_kb() -> None:
    images = [IMAGE.model_copy(update={"id": i, "ref": f"file:///photos/delft/{i:06}.jpg"}) for i in range(8)]
    chunk = CHUNK.model_copy(update={"images": images})
    assert len(chunk.model_dump_json().encode()) < 4_096


def test_a_queue_is_named_after_its_step() -> None:
    assert step_queue("blur") == "penstock.step.blur"

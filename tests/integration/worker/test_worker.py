"""Workers over the memory broker and a folder, in this process: what comes out, and what becomes of what can't."""

from __future__ import annotations

import json
import time
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import wait_until
from worker_rig import CHAIN, JOB, SECS, Rig, by_hand, draw

from penstock.common.model.messages import (
    DEAD_LETTER_QUEUE,
    step_queue,
)
from penstock.common.registry import operations
from penstock.common.store.keys import cancellation_key, resume_key


@pytest.mark.parametrize("placement", [[()], [("resize", "split"), ("blur", "encode")], "each"], ids=str)
def test_bytes_are_those_of_opencv_whatever_the_placement(rig: Rig, placement: Any) -> None:
    for steps in [(step,) for step in operations()] if placement == "each" else placement:
        rig.start(*steps)
    pictures = [draw(number) for number in range(5)]
    images = rig.upload(*pictures)
    rig.send(rig.chunk(CHAIN, images[:3]))
    rig.send(rig.chunk(CHAIN, images[3:], chunk="3-def"))
    ended = rig.outcomes(5)
    for number, picture in enumerate(pictures):
        assert rig.files(ended[number]) == by_hand(picture)
        assert [timing.step for timing in ended[number].timings] == [0, 1, 2, 3]
    wait_until(rig.idle)
    assert list(rig.store.list("work")) == [], "intermediates are removed by whoever takes them over"


def test_started_and_stepped_events_tell_where_a_chunk_is(rig: Rig) -> None:
    rig.start("resize")
    rig.start("encode")
    rig.send(rig.chunk([["resize", "8x8"]], rig.upload(draw(1), draw(2))))
    rig.outcomes(2)
    deadline = time.monotonic() + SECS
    while not any(event.kind == "stepped" for event in rig.seen):
        rig.hear(deadline)
    told = {(event.kind, event.step) for event in rig.seen}
    assert told == {("started", 0), ("stepped", 1), ("started", 1), ("finished", 1)}
    assert all(event.images == [0, 1] for event in rig.seen if event.kind != "finished")


def test_pixels_beyond_the_bound_are_handed_over_before_the_chunk_is_through(rig: Rig) -> None:
    rig.start("resize", "split", "blur", max_pixels_in_flight=90 * 70 + 1)
    pictures = [draw(number) for number in range(5)]
    rig.send(rig.chunk(CHAIN, rig.upload(*pictures)))
    wait_until(lambda: rig.broker.depth(step_queue("encode")).ready == 3)
    names = list(rig.store.list("work"))
    assert len(names) == 3
    assert len(set(names)) == 3
    rig.start("encode")
    ended = rig.outcomes(5)
    assert [rig.files(ended[number]) for number in range(5)] == [by_hand(picture) for picture in pictures]


def test_chunks_of_a_cancelled_job_come_to_nothing_and_leave_nothing(rig: Rig) -> None:
    rig.start("resize")
    rig.send(rig.chunk(CHAIN, rig.upload(draw(0))))
    wait_until(lambda: rig.broker.depth(step_queue("split")).ready == 1)
    assert list(rig.store.list("work"))
    rig.store.put(cancellation_key(JOB), [b""])
    rig.start("split", "blur", "encode")
    wait_until(rig.idle)
    assert list(rig.store.list("work")) == []
    assert list(rig.store.list("results")) == []


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"[]", b"{}", b'{"v":2,"job":"j","chunk":"c","plan":[],"images":[]}', None],
    ids=["bytes", "list", "empty", "another version", "a step that the plan has not"],
)
def test_what_cannot_be_read_goes_to_the_dead_letters_with_the_reason(rig: Rig, body: bytes | None) -> None:
    rig.start()
    bad = rig.chunk([], rig.upload(draw(0)), step=7).model_dump_json().encode() if body is None else body
    rig.broker.publish(step_queue("blur"), [bad])
    wait_until(lambda: rig.broker.depth(DEAD_LETTER_QUEUE).ready == 1)
    letter = json.loads(rig.broker.consume([DEAD_LETTER_QUEUE], 1).get(SECS).body)
    assert letter["queue"] == "penstock.step.blur"
    assert len(letter["reason"]) > 5
    rig.send(rig.chunk(CHAIN, rig.upload(draw(0))))
    assert rig.outcomes(1)[0].state == "done", "the worker goes on"


@pytest.mark.parametrize("plan", [[{"op": "vanished"}, {"op": "encode"}], "plans/gone.json", "plans/torn.json"])
def test_images_whose_plan_cannot_be_run_here_fail_and_can_be_retried(rig: Rig, plan: Any) -> None:
    rig.start()
    rig.store.put("plans/torn.json", [b'[{"op": "enc'])
    chunk = rig.chunk([], rig.upload(draw(0), draw(1)), plan=plan)
    rig.broker.publish(step_queue("encode"), [chunk.model_dump_json().encode()])
    ended = rig.outcomes(2)
    assert {(outcome.error.code, outcome.error.retry) for outcome in ended.values()} == {("internal", True)}


def test_a_plan_too_long_for_a_message_is_read_from_the_store(rig: Rig) -> None:
    rig.start()
    chunk = rig.chunk(CHAIN, rig.upload(draw(0)))
    rig.store.put("plans/job.json", [json.dumps(chunk.plan).encode()])
    chunk.plan = "plans/job.json"
    rig.broker.publish(step_queue("resize"), [chunk.model_dump_json().encode()])
    assert rig.files(rig.outcomes(1)[0]) == by_hand(draw(0))


def test_a_step_of_ones_own_may_return_several_pictures(rig: Rig) -> None:
    for step in ("twins", "split", "encode"):
        rig.start(step)
    picture = draw(0)
    rig.send(rig.chunk([["twins"], ["split"]], rig.upload(picture)))
    outcome = rig.outcomes(1)[0]
    assert [result.name for result in outcome.results] == [f"picture0-{part}.jpg" for part in range(8)]
    mirrored = cv2.flip(picture, 1)[:60, :80]
    expected = cv2.imencode(".jpg", mirrored, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert rig.files(outcome)[4] == expected


@pytest.mark.parametrize("placement", [[()], [("blur",), ("scribble",), ("encode",)]], ids=["fused", "per step"])
def test_a_step_that_writes_into_its_input_fails_in_every_placement_alike(rig: Rig, placement: Any) -> None:
    for steps in placement:
        rig.start(*steps)
    rig.send(rig.chunk([["blur", "median"], ["scribble"]], rig.upload(draw(0))))
    error = rig.outcomes(1)[0].error
    assert error is not None
    assert (error.code, error.step) == ("internal", "scribble")
    assert "read-only" in error.message


def test_what_nobody_foresaw_fails_one_image_and_the_worker_goes_on(rig: Rig) -> None:
    good, bad = rig.upload(draw(0), draw(1))
    bad.ref = "uploads/../../etc/passwd"
    rig.start()
    rig.send(rig.chunk(CHAIN, [bad, good]))
    ended = rig.outcomes(2)
    assert ended[0].state == "done"
    assert (ended[1].error.code, ended[1].attempts) == ("internal", 1)


def test_a_retry_that_may_help_keeps_the_failed_steps_input(rig: Rig) -> None:
    rig.start()
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:, :] = (0, 255, 0)  # trip raises over green
    rig.send(rig.chunk([["blur", "median"], ["trip"]], rig.upload(picture)))
    error = rig.outcomes(1)[0].error
    assert (error.resume_blob, error.step_index, error.resume_parts) == (resume_key(JOB, 0, 0), 1, 1)
    again = rig.chunk([["blur", "median"], ["split"]], rig.upload(draw(9)), run=1, step=1, blob=error.resume_blob)
    again.images[0].parts = error.resume_parts
    rig.send(again)
    outcome = rig.outcomes(1)[0]
    assert outcome.results[0].width == 16, "it went on with the kept pixels, not with the upload"
    wait_until(lambda: rig.store.size(error.resume_blob) is None)


def test_pixels_are_counted_while_they_are_kept_and_never_after(rig: Rig) -> None:
    for steps in (("resize", "split"), ("blur", "encode")):
        rig.start(*steps, max_pixels_in_flight=90 * 70 * 2)
    pictures = [draw(number) for number in range(6)]
    images = rig.upload(*pictures)
    rig.send(rig.chunk(CHAIN, images[:3]))
    rig.send(rig.chunk(CHAIN, images[3:], chunk="3-def"))
    ended = rig.outcomes(6)
    assert [rig.files(ended[number]) for number in range(6)] == [by_hand(picture) for picture in pictures]
    wait_until(lambda: [bench.held.pixels for bench in rig.benches] == [0, 0])

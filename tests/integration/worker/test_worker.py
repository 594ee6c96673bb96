"""Workers over the memory broker and a folder: the results they make, and how they refuse what they cannot process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import wait_until
from worker_fixture import CHAIN, JOB, SECS, WorkerFixture, draw, expected_results

from penstock.common.model.messages import DEAD_LETTER_QUEUE, step_queue
from penstock.common.model.operations import PIXELS_ALONE, Decode
from penstock.common.model.plan import Planned, make_plan
from penstock.common.model.regions import Region
from penstock.common.registry import operations
from penstock.common.settings import Limits
from penstock.common.store.base import Buffer
from penstock.common.store.keys import cancellation_key, resume_key
from penstock.worker.chunk_task import ChunkTask
from penstock.worker.executors.in_process import InProcessExecutor


@pytest.mark.parametrize("placement", [[()], [("resize", "split"), ("blur", "encode")], "each"], ids=str)
def test_results_equal_those_of_opencv_in_every_placement(workers: WorkerFixture, placement: Any) -> None:
    for steps in [(step,) for step in operations()] if placement == "each" else placement:
        workers.start(*steps)
    images = [draw(number) for number in range(5)]
    references = workers.upload(*images)
    workers.send(workers.chunk(CHAIN, references[:3]))
    workers.send(workers.chunk(CHAIN, references[3:], chunk="3-def"))
    ended = workers.wait_for_outcomes(5)
    for number, image in enumerate(images):
        assert workers.results(ended[number]) == expected_results(image)
        assert [timing.step for timing in ended[number].timings] == [0, 1, 2, 3]
    wait_until(workers.is_idle)
    assert list(workers.store.list("work")) == [], "the next step's worker removes the intermediates"


@pytest.mark.parametrize("volatile", [False, True])
def test_only_results_of_a_volatile_chunk_may_be_lost(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch, volatile: bool
) -> None:
    written: dict[str, bool] = {}
    put = workers.store.put

    def note(key: str, pieces: Sequence[Buffer], *, volatile: bool = False) -> None:
        written[key] = volatile
        put(key, pieces, volatile=volatile)

    monkeypatch.setattr(workers.store, "put", note)
    workers.start("resize")
    workers.start("encode")
    workers.send(workers.chunk([["resize", "8x8"]], workers.upload(draw(1)), volatile=volatile))
    ended = workers.wait_for_outcomes(1)
    assert {written[result.key] for result in ended[0].results} == {volatile}


def test_started_and_stepped_events_report_where_a_chunk_is(workers: WorkerFixture) -> None:
    workers.start("resize")
    workers.start("encode")
    workers.send(workers.chunk([["resize", "8x8"]], workers.upload(draw(1), draw(2))))
    workers.wait_for_outcomes(2)
    deadline = time.monotonic() + SECS
    while not any(event.kind == "stepped" for event in workers.seen):
        workers.next_events(deadline)
    published = {(event.kind, event.step) for event in workers.seen}
    assert published == {("started", 0), ("stepped", 1), ("started", 1), ("finished", 1)}
    assert all(event.images == [0, 1] for event in workers.seen if event.job and event.kind != "finished")


def test_pixels_over_budget_are_handed_on_before_the_chunk_is_complete(workers: WorkerFixture) -> None:
    workers.start("resize", "split", "blur", max_pixels_in_flight=90 * 70 + 1)
    images = [draw(number) for number in range(5)]
    workers.send(workers.chunk(CHAIN, workers.upload(*images)))
    wait_until(lambda: workers.broker.depth(step_queue("encode")).ready == 3)
    assert len(set(workers.store.list("work"))) == 3
    workers.start("encode")
    ended = workers.wait_for_outcomes(5)
    assert [workers.results(ended[number]) for number in range(5)] == [expected_results(image) for image in images]


def test_a_job_that_is_cancelled_is_left_before_the_next_step(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def perform(self: InProcessExecutor, operation: Planned, parts: list[Any]) -> list[Any]:
        started.append(operation.step)
        if operation.step == "split":
            workers.store.put(cancellation_key(JOB), [b""])
            time.sleep(0.1)  # longer than the worker remembers that the job was not cancelled
        return unpatched(self, operation, parts)

    unpatched = InProcessExecutor.perform
    monkeypatch.setattr(InProcessExecutor, "perform", perform)
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0), draw(1))))
    workers.start()
    wait_until(lambda: "split" in started and workers.is_idle())
    workers.stop()
    assert started == ["decode", "resize", "split"]
    assert not [*workers.store.list("results")]


def test_an_image_that_uses_up_its_time_fails_for_good_before_the_next_step(workers: WorkerFixture) -> None:
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0))))
    workers.start(image_timeout_secs=1e-6)
    outcome = workers.wait_for_outcomes(1)[0]
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.step, outcome.error.retry) == ("image_timeout", "decode", False)
    assert outcome.error.message == "the image took longer than 1e-06 s of CPU time (PENSTOCK_IMAGE_TIMEOUT_SECS)"


@pytest.mark.parametrize(("decode", "step"), [(Decode(), "decode"), (PIXELS_ALONE, "resize")], ids=["now", "0.1.0"])
def test_a_file_that_cannot_be_read_or_decoded_fails_in_decode(
    workers: WorkerFixture, decode: Decode, step: str
) -> None:
    """Plans that are read as 0.1.0 read them have no `decode`: `POST /process` reports what it always did."""
    plan = make_plan(CHAIN, None, Limits(), decode).document()
    references = workers.upload(b"no image", draw(0))
    missing = references[1].model_copy(update={"id": 2, "ref": "uploads/u/missing"})
    workers.send(workers.chunk([], [*references, missing], plan=plan))
    workers.start()
    ended = workers.wait_for_outcomes(3)
    failed = [ended[image].error for image in (0, 2)]
    assert [(error.code, error.step, error.step_index) for error in failed if error] == [
        ("unsupported_type", step, 0),
        ("source_not_found", step, 0),
    ]
    assert ended[1].state == "done"


def test_chunks_of_a_cancelled_job_leave_no_results_and_no_intermediates(workers: WorkerFixture) -> None:
    workers.start("resize")
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0))))
    wait_until(lambda: workers.broker.depth(step_queue("split")).ready == 1)
    assert list(workers.store.list("work"))
    workers.store.put(cancellation_key(JOB), [b""])
    workers.start("split", "blur", "encode")
    wait_until(workers.is_idle)
    assert list(workers.store.list("work")) == []
    assert list(workers.store.list("results")) == []


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"[]", b"{}", b'{"v":2,"job":"j","chunk":"c","plan":[],"images":[]}', None],
    ids=["bytes", "list", "empty", "another version", "a step beyond the plan"],
)
def test_an_unreadable_message_goes_to_the_dead_letter_queue_with_the_reason(
    workers: WorkerFixture, body: bytes | None
) -> None:
    workers.start()
    bad = workers.chunk([], workers.upload(draw(0)), step=7).model_dump_json().encode() if body is None else body
    workers.broker.publish(step_queue("blur"), [bad])
    wait_until(lambda: workers.broker.depth(DEAD_LETTER_QUEUE).ready == 1)
    letter = json.loads(workers.broker.consume([DEAD_LETTER_QUEUE], 1).get(SECS).body)
    assert letter["queue"] == "penstock.step.blur"
    assert len(letter["reason"]) > 5
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0))))
    assert workers.wait_for_outcomes(1)[0].state == "done", "the worker continues"


@pytest.mark.parametrize("plan", [[{"op": "vanished"}, {"op": "encode"}], "plans/gone.json", "plans/torn.json"])
def test_images_whose_plan_cannot_be_run_fail_and_can_be_retried(workers: WorkerFixture, plan: Any) -> None:
    workers.start()
    workers.store.put("plans/torn.json", [b'[{"op": "enc'])
    chunk = workers.chunk([], workers.upload(draw(0), draw(1)), plan=plan)
    workers.broker.publish(step_queue("encode"), [chunk.model_dump_json().encode()])
    ended = workers.wait_for_outcomes(2)
    assert {(outcome.error.code, outcome.error.retry) for outcome in ended.values()} == {("internal", True)}


def test_a_plan_too_long_for_a_message_is_read_from_the_store(workers: WorkerFixture) -> None:
    workers.start()
    chunk = workers.chunk(CHAIN, workers.upload(draw(0)))
    workers.store.put("plans/job.json", [json.dumps(chunk.plan).encode()])
    chunk.plan = "plans/job.json"
    workers.broker.publish(step_queue("resize"), [chunk.model_dump_json().encode()])
    assert workers.results(workers.wait_for_outcomes(1)[0]) == expected_results(draw(0))


def test_a_custom_step_may_return_several_parts(workers: WorkerFixture) -> None:
    for step in ("twins", "split", "encode"):
        workers.start(step)
    image = draw(0)
    workers.send(workers.chunk([["twins"], ["split"]], workers.upload(image)))
    outcome = workers.wait_for_outcomes(1)[0]
    assert [result.name for result in outcome.results] == [f"image0-{part}.jpg" for part in range(8)]
    mirrored = cv2.flip(image, 1)[:60, :80]
    expected = cv2.imencode(".jpg", mirrored, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert workers.results(outcome)[4] == expected


@pytest.mark.parametrize("placement", [[()], [("blur",), ("scribble",), ("encode",)]], ids=["fused", "per step"])
def test_a_step_that_writes_to_its_input_fails_in_every_placement(workers: WorkerFixture, placement: Any) -> None:
    for steps in placement:
        workers.start(*steps)
    workers.send(workers.chunk([["blur", "median"], ["scribble"]], workers.upload(draw(0))))
    error = workers.wait_for_outcomes(1)[0].error
    assert error is not None
    assert (error.code, error.step) == ("internal", "scribble")
    assert "read-only" in error.message


def test_an_unexpected_error_fails_one_image_and_the_worker_continues(workers: WorkerFixture) -> None:
    good, bad = workers.upload(draw(0), draw(1))
    bad.ref = "uploads/../../etc/passwd"
    workers.start()
    workers.send(workers.chunk(CHAIN, [bad, good]))
    ended = workers.wait_for_outcomes(2)
    assert ended[0].state == "done"
    assert (ended[1].error.code, ended[1].attempts) == ("internal", 1)


def test_an_error_in_the_loop_ends_the_worker_and_its_inbox(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = workers.make()

    def fail(task: ChunkTask) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(worker, "handle", fail)
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0))))
    with pytest.raises(RuntimeError, match="unexpected"):
        worker.run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("inbox")]


def test_the_failed_steps_input_is_kept_if_a_retry_may_help(workers: WorkerFixture) -> None:
    workers.start()
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, :] = (0, 255, 0)  # trip raises on green
    workers.send(workers.chunk([["blur", "median"], ["trip"]], workers.upload(image)))
    error = workers.wait_for_outcomes(1)[0].error
    assert (error.resume_blob, error.step_index, error.resume_parts) == (resume_key(JOB, 0, 0, 1), 1, 1)
    again = workers.chunk(
        [["blur", "median"], ["split"]], workers.upload(draw(9)), run=1, step=1, blob=error.resume_blob
    )
    again.images[0].parts = error.resume_parts
    workers.send(again)
    outcome = workers.wait_for_outcomes(1)[0]
    assert outcome.results[0].width == 16, "the retry continued with the kept pixels, not with the upload"
    wait_until(lambda: workers.store.size(error.resume_blob) is None)


def test_held_pixels_are_released(workers: WorkerFixture) -> None:
    started = [
        workers.start(*steps, max_pixels_in_flight=90 * 70 * 2) for steps in (("resize", "split"), ("blur", "encode"))
    ]
    images = [draw(number) for number in range(6)]
    references = workers.upload(*images)
    workers.send(workers.chunk(CHAIN, references[:3]))
    workers.send(workers.chunk(CHAIN, references[3:], chunk="3-def"))
    ended = workers.wait_for_outcomes(6)
    assert [workers.results(ended[number]) for number in range(6)] == [expected_results(image) for image in images]
    wait_until(lambda: [worker.context.pixel_budget.used for worker in started] == [0, 0])


@pytest.mark.parametrize("placement", [[()], [("resize",), ("split",), ("encode",)]], ids=["fused", "per step"])
def test_regions_from_a_message_or_a_sidecar_are_moved_with_the_pixels(workers: WorkerFixture, placement: Any) -> None:
    for steps in placement:
        workers.start(*steps)
    references = workers.upload(draw(0), draw(1), draw(2))
    workers.store.put("uploads/u/9", [b'{"regions": [{"box": [40, 30, 80, 60], "label": "sign"}]}'])
    references[0].regions = (Region(box=(16, 12, 16, 12), score=0.5),)
    references[1].regions = "uploads/u/9"
    workers.send(workers.chunk([["resize", "80x60"], ["split"]], references))
    ended = workers.wait_for_outcomes(3)
    first, second = Region(box=(8, 6, 8, 6), score=0.5), Region(box=(20, 15, 20, 15), label="sign")
    quarters = [
        second,
        *(second.model_copy(update={"box": box}) for box in ((0, 15, 20, 15), (20, 0, 20, 15), (0, 0, 20, 15))),
    ]
    assert [result.regions for result in ended[0].results] == [(first,), (), (), ()]
    assert [result.regions for result in ended[1].results] == [(region,) for region in quarters]
    assert [result.regions for result in ended[2].results] == [()] * 4


def test_a_broken_or_missing_sidecar_fails_its_image_alone(workers: WorkerFixture) -> None:
    workers.start()
    references = workers.upload(draw(0), draw(1), draw(2), draw(3))
    workers.store.put("uploads/u/9", [b'[{"box": [1, 2]}]'])
    (workers.folder / "x.jpg.regions.json").write_bytes(b"[" + b" " * 300_000 + b"]")
    references[0].regions = "uploads/u/9"
    references[1].regions = "uploads/u/10"
    references[2].regions = f"file://{workers.folder}/x.jpg.regions.json"
    workers.send(workers.chunk([["split"]], references))
    ended = workers.wait_for_outcomes(4)
    errors = [(ended[number].error.code, ended[number].error.message) for number in range(3)]
    assert errors == [
        ("invalid_regions", "the regions' file: regions[0].box[2]: missing, but required"),
        ("source_not_found", "the regions' file: the uploaded file was removed"),
        ("invalid_regions", "'x.jpg.regions.json': the file is larger than 262144 bytes, which is the limit"),
    ]
    assert ended[3].state == "done"

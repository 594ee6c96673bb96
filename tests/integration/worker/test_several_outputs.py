"""Workers over the memory broker: several outputs of one decode."""

import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import wait_until
from worker_fixture import JOB, LIMITS, SECS, WorkerFixture, draw

from penstock.common.model.jobs import JobDocument
from penstock.common.model.messages import (
    DEAD_LETTER_QUEUE,
    EVENTS_QUEUE,
    Chunk,
    ImageRef,
    Outcome,
    read_chunk,
    step_queue,
)
from penstock.common.model.operations import Encode
from penstock.common.model.plan import make_job_plan, make_plan
from penstock.common.model.result_names import SINGLE
from penstock.common.registry import operations
from penstock.common.store.keys import work_folders
from penstock.worker.executors.in_process import InProcessExecutor

SHARED = [["resize", "90x70"]]
OUTPUTS = [
    {"name": "small", "operations": [["resize", "40x"]], "output": "png"},
    {"name": "quarters", "operations": [["split"], ["blur", "median"]]},
    {"name": "whole"},
]
RAISES = np.full((40, 60, 3), (0, 255, 0), np.uint8)


def make_chunk(
    workers: WorkerFixture,
    *images: np.ndarray | bytes,
    shared: Sequence[Any] = SHARED,
    outputs: Sequence[Any] = OUTPUTS,
) -> Chunk:
    """Return a chunk with all outputs of some images."""
    document = JobDocument.model_validate({"operations": shared, "outputs": outputs})
    plan = make_job_plan(document, LIMITS)
    count, sources = len(outputs), workers.upload(*images)
    refs = [
        ImageRef(id=source.id * count + number, stem=f"{output['name']}/{source.stem}", ref=source.ref)
        for source in sources
        for number, output in enumerate(outputs)
    ]
    fields = {"job": JOB, "chunk": "0-abc", "plan": plan.document(), "images": refs, "results": "results/job"}
    return Chunk(**fields, names=SINGLE)


def alone(image: np.ndarray, *operations: Any, output: str = "jpg") -> list[bytes]:
    """Return the results of a plan with one output, run without a worker."""
    plan = make_plan([*operations], Encode.model_validate({"format": output}), LIMITS)
    executor = InProcessExecutor(LIMITS)
    parts = executor.perform(plan.decoding, [cv2.imencode(".png", image)[1].tobytes()])
    for planned in plan.operations[:-1]:
        parts = executor.perform(planned, parts)
    return [file.data for file in executor.encode(plan.operations[-1], parts)]


def check_results(workers: WorkerFixture, images: Sequence[np.ndarray], ended: dict[int, Outcome]) -> None:
    for number, image in enumerate(images):
        small, quarters, whole = (ended[number * 3 + output] for output in range(3))
        assert workers.results(small) == alone(image, *SHARED, ["resize", "40x"], output="png")
        assert workers.results(quarters) == alone(image, *SHARED, ["split"], ["blur", "median"])
        assert workers.results(whole) == alone(image, *SHARED)


def intermediates(workers: WorkerFixture) -> list[str]:
    return [key for folder in work_folders() for key in workers.store.list(folder)]


@pytest.mark.parametrize(
    "placement",
    [
        [()],
        [("resize",), ("split",), ("blur",), ("encode",)],
        [("resize", "encode"), ("split", "blur")],
        [("resize", "split"), ("blur", "encode")],
    ],
)
def test_every_output_is_as_if_made_alone_in_every_placement(workers: WorkerFixture, placement: list[Any]) -> None:
    images = [draw(1), draw(2)]
    for steps in placement:
        workers.start(*steps)
    workers.send(make_chunk(workers, *images))
    ended = workers.wait_for_outcomes(6)
    check_results(workers, images, ended)
    names = [result.name for image in sorted(ended) for result in ended[image].results]
    quarters = [f"quarters/image0-{part}.jpg" for part in range(4)]
    assert names[:6] == ["small/image0.png", *quarters, "whole/image0.jpg"]
    wait_until_idle(workers)
    assert intermediates(workers) == []


def test_the_stored_intermediate_stays_until_its_last_reader_is_through(workers: WorkerFixture) -> None:
    workers.start("resize")
    workers.send(make_chunk(workers, draw(1), outputs=[OUTPUTS[1], OUTPUTS[2]]))
    wait_until_idle(workers, but=2)
    assert len(intermediates(workers)) == 1
    workers.start("encode")
    assert workers.wait_for_outcomes(1)[1].state == "done"
    wait_until_idle(workers, but=1)
    assert len(intermediates(workers)) == 2, "the pixels, and what says that one reader is through"
    workers.start("split", "blur")
    assert workers.wait_for_outcomes(1)[0].state == "done"
    wait_until_idle(workers)
    assert intermediates(workers) == []


def test_each_source_is_read_once(workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    get = workers.store.get
    monkeypatch.setattr(workers.store, "get", lambda key: read.append(key) or get(key))
    workers.start()
    workers.send(make_chunk(workers, draw(1), draw(2)))
    ended = workers.wait_for_outcomes(6)
    assert sorted(key for key in read if key.startswith("uploads")) == ["uploads/u/0", "uploads/u/1"]
    steps = [[timing.step for timing in ended[image].timings] for image in range(3)]
    assert steps == [[0, 1, 2], [0, 3, 4, 5], [0, 6]]
    assert len({ended[image].timings[0].work for image in range(3)}) == 1, "shared work is divided equally"


def test_without_shared_operations_the_image_is_read_once_by_the_first_outputs_worker(workers: WorkerFixture) -> None:
    image = draw(1)
    workers.start("resize")
    workers.start("split", "blur", "encode")
    workers.send(make_chunk(workers, image, shared=[]))
    ended = workers.wait_for_outcomes(3)
    assert workers.results(ended[0]) == alone(image, ["resize", "40x"], output="png")
    assert workers.results(ended[1]) == alone(image, ["split"], ["blur", "median"])
    assert workers.results(ended[2]) == alone(image)
    steps = [[timing.step for timing in ended[number].timings] for number in range(3)]
    assert steps == [[0, 1], [2, 2, 3, 4], [5, 5]], "each output's first step has its share of the reading"


def test_an_output_fails_on_its_own(workers: WorkerFixture) -> None:
    workers.start()
    outputs = [OUTPUTS[0], {"name": "tripping", "operations": [["trip"]]}, OUTPUTS[2]]
    workers.send(make_chunk(workers, RAISES, outputs=outputs))
    ended = workers.wait_for_outcomes(3)
    assert [ended[number].state for number in range(3)] == ["done", "failed", "done"]
    error = ended[1].error
    assert error is not None
    assert (error.step, error.step_index, error.resume_parts) == ("trip", 3, 1)


def test_what_fails_before_the_outputs_fails_each_of_them(workers: WorkerFixture) -> None:
    workers.start()
    workers.send(make_chunk(workers, b"no image", draw(1), shared=[["crop", "100x100"]]))
    ended = workers.wait_for_outcomes(6)
    assert [ended[number].state for number in range(6)] == ["failed"] * 3 + ["done"] * 3
    assert {ended[number].error.step for number in range(3)} == {"decode"}  # type: ignore[union-attr]


@pytest.mark.parametrize("placement", [[()], [("resize",), ("split", "blur"), ("encode",)]])
def test_a_redelivered_message_is_split_into_outputs(workers: WorkerFixture, placement: list[Any]) -> None:
    images = [draw(1), draw(2)]
    workers.send_redelivered(make_chunk(workers, *images))
    for steps in placement:
        workers.start(*steps)
    check_results(workers, images, workers.wait_for_outcomes(6))


def test_a_failed_output_resumes_from_its_own_input(workers: WorkerFixture) -> None:
    workers.start()
    outputs = [{"name": "tripping", "operations": [["blur", "median"], ["trip"]]}, OUTPUTS[2]]
    chunk = make_chunk(workers, RAISES, outputs=outputs)
    workers.send(chunk)
    error = workers.wait_for_outcomes(2)[0].error
    assert error is not None
    assert error.resume_blob is not None
    image = chunk.images[0].model_copy(update={"parts": error.resume_parts})
    again = {"step": error.step_index, "blob": error.resume_blob, "images": [image], "run": 1}
    workers.send(chunk.model_copy(update=again))
    ended = workers.wait_for_outcomes(1)
    assert ended[0].state == "failed"
    assert ended[0].error is not None
    assert ended[0].error.step == "trip"


def test_a_message_about_another_output_is_refused(workers: WorkerFixture) -> None:
    workers.start()
    chunk = make_chunk(workers, draw(1))
    workers.send(chunk.model_copy(update={"step": 6, "blob": "work/0/job/x", "images": chunk.images[:1]}))
    wait_until_idle(workers)
    assert workers.broker.depth(DEAD_LETTER_QUEUE).ready == 1


def wait_until_idle(workers: WorkerFixture, but: int = 0) -> None:
    """Wait until no chunk is left, except `but` that no worker takes."""
    deadline = time.monotonic() + SECS
    while True:
        depths = [workers.broker.depth(step_queue(step)) for step in operations()]
        if (sum(depth.ready for depth in depths), sum(depth.in_flight for depth in depths)) == (but, 0):
            return
        assert time.monotonic() < deadline, depths
        time.sleep(0.01)


def test_a_draining_worker_gives_back_the_outputs_that_are_left_together(workers: WorkerFixture) -> None:
    """No attempt is counted for them."""
    images = [draw(1), draw(2)]
    outputs = [{"name": name, "operations": [["pause", 0.2]]} for name in ("one", "two", "three")]
    workers.start(max_attempts=1)
    workers.send(make_chunk(workers, *images, outputs=outputs))
    wait_until(lambda: workers.broker.depth(EVENTS_QUEUE).in_flight == 1)  # it has published that it started
    workers.stop()
    waiting = workers.broker.consume([step_queue("resize")], 8)
    delivery = waiting.get(SECS)
    assert delivery is not None
    left = [image.id for image in read_chunk(delivery.body).images]
    assert left == [*range(6 - len(left), 6)]
    assert len(left) >= 3
    waiting.close()
    workers.start(max_attempts=1)
    ended = workers.wait_for_outcomes(6)
    assert [(ended[number].state, ended[number].attempts) for number in range(6)] == [("done", 1)] * 6
    for number in range(6):
        assert workers.results(ended[number]) == alone(images[number // 3], *SHARED)

"""Workers over the memory broker: group steps, on the results of a group's images."""

import json
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import wait_until
from worker_fixture import JOB, LIMITS, WorkerFixture, draw

from penstock.common.model.groups import Member, group_source, write_member
from penstock.common.model.jobs import JobDocument
from penstock.common.model.messages import Chunk, ImageRef, Outcome, Result
from penstock.common.model.plan import GROUP_IDS, make_job_plan
from penstock.common.model.regions import Place, Region
from penstock.common.model.result_names import SINGLE
from penstock.common.store.keys import cancellation_key, work_folders

LISTING = "groups/job/0-1.jsonl"
REGION = Region(box=(1, 2, 3, 4), label="face")
PLACE = Place(longitude=4.4, latitude=52.0)


def make_group(
    workers: WorkerFixture, step: str, *results: np.ndarray | Sequence[np.ndarray], output: str = "png", **params: Any
) -> Chunk:
    """Return the chunk of a group whose images have ended with some results; several make a sequence."""
    lines = []
    for number, parts in enumerate(results):
        made = [parts] if isinstance(parts, np.ndarray) else parts
        stored = [_store(workers, f"north/{number}-{part}.png", pixels) for part, pixels in enumerate(made)]
        lines.append(write_member(Member(name=f"north/{number}.jpg", results=stored, labels={"region": "n"})))
    workers.store.put(LISTING, lines)
    gather = ["gather", {"by": "folder", "step": step, "params": params}]
    document = JobDocument.model_validate({"operations": [["resize", "60x"], gather], "output": output})
    plan = make_job_plan(document, LIMITS)
    assert plan.layout.gather is not None
    group = ImageRef(id=GROUP_IDS, stem=f"north/{step}", ref=group_source(LISTING))
    fields = {"job": JOB, "chunk": "0-g", "plan": plan.document(), "images": [group], "results": "results/job"}
    return Chunk(**fields, step=plan.layout.gather.start, names=SINGLE)


def _store(workers: WorkerFixture, name: str, pixels: np.ndarray) -> Result:
    data = cv2.imencode(".png", pixels)[1].tobytes()
    workers.store.put(f"results/job/{name}", [data])
    fields = {"media_type": "image/png", "width": pixels.shape[1], "height": pixels.shape[0], "sha256": "00"}
    return Result(key=f"results/job/{name}", name=name, size=len(data), regions=(REGION,), place=PLACE, **fields)


def ending(workers: WorkerFixture) -> Outcome:
    return workers.wait_for_outcomes(1)[GROUP_IDS]


def code(outcome: Outcome) -> str:
    assert outcome.error is not None
    assert outcome.state == "failed"
    return outcome.error.code


def decode(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("placement", [[()], [("stack",), ("encode",)]], ids=["fused", "per step"])
def test_a_group_step_sees_all_results_in_order(workers: WorkerFixture, placement: list[Any]) -> None:
    for steps in placement:
        workers.start(*steps)
    images = [draw(number) for number in range(5)]
    workers.send(make_group(workers, "stack", images[0], images[1:3], *images[3:]))
    ended = ending(workers)
    assert [result.name for result in ended.results] == ["north/stack.png"]
    assert np.array_equal(decode(workers.results(ended)[0]), np.vstack(images))
    assert [timing.step for timing in ended.timings] == [2, 3], "its own operations, not the images'"
    wait_until(workers.is_idle)
    assert [key for folder in work_folders() for key in workers.store.list(folder)] == []


@pytest.mark.parametrize("placement", [[()], [("poses",), ("encode",)]], ids=["fused", "per step"])
def test_files_that_a_group_step_makes_are_results_as_they_are(workers: WorkerFixture, placement: list[Any]) -> None:
    for steps in placement:
        workers.start(*steps)
    workers.send(make_group(workers, "poses", draw(0), [draw(1), draw(2)]))
    ended = ending(workers)
    assert [(result.name, result.media_type) for result in ended.results] == [
        ("north/poses/poses.json", "application/json"),
        ("north/poses/names.txt", "text/plain"),
    ]
    poses, names = workers.results(ended)
    assert names.decode().split() == ["north/0-0.png", "north/1-0.png", "north/1-1.png"]
    assert json.loads(poses)[0] == {"name": "north/0-0.png", "size": [160, 120], "labels": {"region": "n"}}
    assert (ended.results[0].width, ended.results[0].size) == (0, len(poses))


def test_a_result_that_was_removed_fails_the_group_and_a_retry_may_help(workers: WorkerFixture) -> None:
    workers.start()
    chunk = make_group(workers, "stack", draw(0), draw(1))
    workers.store.delete("results/job/north/1-0.png")
    workers.send(chunk)
    ended = ending(workers)
    assert code(ended) == "source_not_found"
    assert ended.error is not None
    assert ended.error.message == "north/1-0.png: the result was removed"
    assert (ended.error.step, ended.error.step_index, ended.error.retry) == ("stack", 2, True)


def test_a_group_whose_listing_is_gone_fails(workers: WorkerFixture) -> None:
    workers.start()
    chunk = make_group(workers, "stack", draw(0))
    workers.store.delete(LISTING)
    workers.send(chunk)
    assert code(ending(workers)) == "source_not_found"


@pytest.mark.parametrize(
    ("kind", "expected", "said"),
    [
        ("nothing", "parameter_not_applicable", "stack made 0 parts"),
        ("text", "internal", "stack returned str; accepted are H×W×3 uint8"),
    ],
)
def test_what_is_no_result_fails_the_group(workers: WorkerFixture, kind: str, expected: str, said: str) -> None:
    workers.start()
    workers.send(make_group(workers, "stack", draw(0), kind=kind))
    ended = ending(workers)
    assert code(ended) == expected
    assert ended.error is not None
    assert ended.error.message.startswith(said)


def test_an_exception_of_a_group_step_fails_the_group_alone(workers: WorkerFixture) -> None:
    workers.start()
    workers.send(make_group(workers, "stack", draw(0), np.full((9, 9, 3), (0, 255, 0), np.uint8)))
    ended = ending(workers)
    assert (code(ended), ended.error.message) == ("internal", "stack raised RuntimeError: tripped over it")  # type: ignore[union-attr]
    workers.send(make_group(workers, "stack", draw(0)))
    assert ending(workers).state == "done"


def test_a_redelivered_group_is_counted_as_an_attempt_and_runs(workers: WorkerFixture) -> None:
    workers.send_redelivered(make_group(workers, "stack", draw(0)))
    workers.start()
    ended = ending(workers)
    assert (ended.state, ended.attempts) == ("done", 2)


def test_a_worker_that_drains_requeues_the_group_that_it_is_in(workers: WorkerFixture) -> None:
    workers.start("stack")
    workers.start("encode")
    workers.send(make_group(workers, "stack", *[np.zeros((8, 8, 3), np.uint8)] * 20, kind="slow"))
    while not any(event.kind == "started" for event in workers.seen):
        workers.next_events(time.monotonic() + 20)
    workers.workers[0].stop()
    workers.start("stack")
    ended = ending(workers)
    assert (ended.state, ended.attempts) == ("done", 1)
    assert [event.kind for event in workers.seen].count("started") >= 2, "the first one did not finish it"


def test_a_cancelled_job_ends_the_group_between_two_images(workers: WorkerFixture) -> None:
    workers.start()
    workers.send(make_group(workers, "stack", *[np.zeros((8, 8, 3), np.uint8)] * 100, kind="slow"))
    while not any(event.kind == "started" for event in workers.seen):
        workers.next_events(time.monotonic() + 20)
    workers.store.put(cancellation_key(JOB), [b""])
    wait_until(workers.is_idle)
    assert not [key for key in workers.store.list("results/job") if "stack" in key]


def test_a_failed_encode_keeps_what_the_step_made_for_a_retry(workers: WorkerFixture) -> None:
    workers.start()
    high = np.zeros((9_000, 8, 3), np.uint8)
    chunk = make_group(workers, "stack", high, high, output="webp")
    workers.send(chunk)
    ended = ending(workers)
    assert code(ended) == "parameter_not_applicable"
    assert ended.error is not None
    assert (ended.error.step, ended.error.step_index) == ("encode", 3)


def test_lost_intermediates_of_a_group_start_its_step_again(workers: WorkerFixture) -> None:
    chunk = make_group(workers, "stack", draw(0))
    group = chunk.images[0].model_copy(update={"parts": 1})
    workers.send(chunk.model_copy(update={"step": 3, "blob": "work/0/job/gone", "images": [group]}))
    workers.start()
    ended = ending(workers)
    assert np.array_equal(decode(workers.results(ended)[0]), draw(0))

"""Workers over the memory broker and a folder, in this process: what comes out, and what becomes of what can't."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import wait_until

from penstock.common.broker.memory import MemoryBroker
from penstock.common.errors import UnavailableError
from penstock.common.messages import (
    DEAD_LETTER_QUEUE,
    EVENTS_QUEUE,
    Chunk,
    Event,
    ImageRef,
    Outcome,
    read_chunk,
    read_events,
    step_queue,
)
from penstock.common.plan import make_plan
from penstock.common.registry import custom_steps, operations
from penstock.common.settings import Limits, WorkerSettings
from penstock.common.store.keys import attempts_key, resume_key, tombstone_key
from penstock.common.store.local import LocalStore
from penstock.worker.loop import Worker
from penstock.worker.sources import Sources
from penstock.worker.work import Bench

PLUGINS = Path(__file__).parents[1] / "plugins"
SECS = 20.0
JOB = "job"
CHAIN = [["resize", "90x70"], ["split", True], ["blur", "median"]]
LIMITS = Limits()


class Broker(MemoryBroker):
    """A broker that can be away for whoever publishes. `refused` counts what was then."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.refused = 0

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        if self.away and confirm:
            self.refused += 1
            raise UnavailableError("broker", "away")
        super().publish(queue, bodies, confirm=confirm)


class Rig:
    """A broker, a store, and as many workers as a test starts."""

    def __init__(self, folder: Path, reader: Executor | None) -> None:
        self.folder = folder
        self._reader = reader
        self.store = LocalStore(folder / "store")
        self.broker = Broker()
        self.broker.declare([EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())])
        self._events = self.broker.consume([EVENTS_QUEUE], 100_000)
        self.seen: list[Event] = []
        self.benches: list[Bench] = []
        self._workers: list[tuple[Worker, threading.Thread]] = []

    def start(self, *steps: str, max_pixels_in_flight: int = 10**8, **settings: Any) -> None:
        """Start a worker that serves some steps, all if none is named."""
        bench = Bench(
            name=f"worker-{len(self._workers)}",
            store=self.store,
            broker=self.broker,
            sources=Sources(self.store, LIMITS, self.folder),
            limits=LIMITS,
            served=frozenset(steps or operations()),
            max_pixels_in_flight=max_pixels_in_flight,
            reader=self._reader,
        )
        self.benches.append(bench)
        settings = {"cancel_lookup_secs": 0.05, **settings}
        worker = Worker(bench, WorkerSettings(**settings), overlap=self._reader is not None)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        self._workers.append((worker, thread))

    def stop(self) -> None:
        """Let every worker leave."""
        for worker, _ in self._workers:
            worker.stop()
        for _, thread in self._workers:
            thread.join(SECS)
            assert not thread.is_alive()
        self._workers = []

    def upload(self, *pictures: np.ndarray | bytes) -> list[ImageRef]:
        """Put pictures into the store and return references to them."""
        images = []
        for number, picture in enumerate(pictures):
            data = picture if isinstance(picture, bytes) else cv2.imencode(".png", picture)[1].tobytes()
            self.store.put(f"uploads/u/{number}", [data])
            images.append(ImageRef(id=number, stem=f"picture{number}", ref=f"uploads/u/{number}"))
        return images

    def chunk(self, ops: list[Any], images: list[ImageRef], **more: Any) -> Chunk:
        """Return a chunk of some images at the beginning of a plan."""
        plan = make_plan(ops, None, LIMITS).document()
        given = {"job": JOB, "chunk": "0-abc", "plan": plan, "images": images, "results": "results/job", **more}
        return Chunk(**given)

    def send(self, chunk: Chunk) -> None:
        """Put a chunk into the queue of its step."""
        self.broker.publish(step_queue(chunk.plan[chunk.step]["op"]), [chunk.model_dump_json().encode()])

    def send_as_from_the_dead(self, chunk: Chunk) -> None:
        """Put a chunk into its queue that a worker died over."""
        doomed = self.broker.consume([step_queue(chunk.plan[chunk.step]["op"])], 1)
        self.send(chunk)
        assert doomed.get(SECS) is not None
        doomed.lose()

    def outcomes(self, count: int) -> dict[int, Outcome]:
        """Wait until so many images have ended, and return how."""
        found: dict[int, Outcome] = {}
        deadline = time.monotonic() + SECS
        while len(found) < count:
            for event in self.hear(deadline):
                found.update({outcome.id: outcome for outcome in event.outcomes})
        return found

    def hear(self, deadline: float) -> list[Event]:
        """Return the events of the next message, and remember them."""
        delivery = self._events.get(max(0.0, deadline - time.monotonic()))
        assert delivery is not None, f"after {self.seen} nothing more came"
        self._events.ack(delivery)
        events = read_events(delivery.body)
        self.seen += events
        return events

    def idle(self) -> bool:
        """Whether every step's queue is empty and every chunk acknowledged."""
        depths = [self.broker.depth(step_queue(step)) for step in operations()]
        return not any(depth.ready or depth.in_flight for depth in depths)

    def files(self, outcome: Outcome) -> list[bytes]:
        return [self.store.get(result.key) for result in outcome.results]


@pytest.fixture(params=["one after the other", "overlapping"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.syspath_prepend(PLUGINS)
    custom_steps.cache_clear()
    with ThreadPoolExecutor(2) as pool:
        rig = Rig(tmp_path, pool if request.param == "overlapping" else None)
        yield rig
        rig.stop()
    custom_steps.cache_clear()


def draw(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    random = np.random.default_rng(number)
    picture = random.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)


def by_hand(picture: np.ndarray) -> list[bytes]:
    """`CHAIN` as somebody would write it with OpenCV."""
    small = cv2.resize(picture, (90, 70), interpolation=cv2.INTER_AREA)
    quadrants = [small[:35, :45], small[:35, 45:], small[35:, :45], small[35:, 45:]]
    return [
        cv2.imencode(".jpg", cv2.medianBlur(part, 5), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for part in quadrants
    ]


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


def test_a_chunk_over_which_a_worker_died_is_taken_apart_and_its_images_are_counted(rig: Rig) -> None:
    chunk = rig.chunk(CHAIN, rig.upload(draw(0), draw(1), draw(2)))
    rig.send_as_from_the_dead(chunk)
    rig.start()
    ended = rig.outcomes(3)
    assert [ended[number].attempts for number in range(3)] == [2, 2, 2]
    assert rig.files(ended[1]) == by_hand(draw(1))
    finished = [[outcome.id for outcome in event.outcomes] for event in rig.seen if event.kind == "finished"]
    assert finished == [[0], [1], [2]]


def test_an_image_under_suspicion_is_done_with_before_another_begins(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would be blamed for what the next one does to the worker."""
    unwaited: list[Any] = []
    monkeypatch.setattr(rig.broker, "publish_then", lambda messages, then: unwaited.append(messages))
    rig.send_as_from_the_dead(rig.chunk(CHAIN, rig.upload(draw(0))))
    rig.start()
    assert rig.outcomes(1)[0].state == "done"
    assert not unwaited


def test_an_image_started_often_enough_fails_without_another_start(rig: Rig) -> None:
    chunk = rig.chunk(CHAIN, rig.upload(draw(0)))
    rig.store.put(attempts_key(JOB, 0, 0), [json.dumps({"count": 3, "step": 2}).encode()])
    rig.send_as_from_the_dead(chunk)
    rig.start(max_attempts=3)
    outcome = rig.outcomes(1)[0]
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.step, outcome.attempts) == ("step_crashed", "blur", 3)
    assert outcome.error.message == "the worker died 3 times over this image, last in blur"
    assert not [event for event in rig.seen if event.kind == "started"]


def test_a_suspects_starts_are_noted_with_the_operation_it_came_to_and_forgiven_at_its_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, key = [], attempts_key(JOB, 0, 0)
    put = rig.store.put
    monkeypatch.setattr(rig.store, "put", lambda at, data: (noted.append(data) if at == key else None, put(at, data)))
    rig.send_as_from_the_dead(rig.chunk(CHAIN, rig.upload(draw(0))))
    rig.start()
    rig.outcomes(1)
    wait_until(rig.idle)
    starts = [(note["count"], note["step"]) for note in (json.loads(data[0]) for data in noted)]
    assert starts == [(2, 0), (2, 1), (2, 2), (2, 3), (1, 0)]


def test_an_image_that_comes_again_and_again_without_a_death_does_not_fail(rig: Rig) -> None:
    chunk = rig.chunk(CHAIN, rig.upload(draw(0)))
    for _ in range(5):
        rig.send_as_from_the_dead(chunk)
        rig.start(max_attempts=3)
        assert rig.outcomes(1)[0].state == "done"
        rig.stop()


def test_chunks_of_a_cancelled_job_come_to_nothing_and_leave_nothing(rig: Rig) -> None:
    rig.start("resize")
    rig.send(rig.chunk(CHAIN, rig.upload(draw(0))))
    wait_until(lambda: rig.broker.depth(step_queue("split")).ready == 1)
    assert list(rig.store.list("work"))
    rig.store.put(tombstone_key(JOB), [b""])
    rig.start("split", "blur", "encode")
    wait_until(rig.idle)
    assert list(rig.store.list("work")) == []
    assert list(rig.store.list("results")) == []


def test_images_whose_intermediates_are_lost_start_from_their_sources_again(rig: Rig) -> None:
    rig.start("resize")
    pictures = [draw(0), draw(1)]
    rig.send(rig.chunk(CHAIN, rig.upload(*pictures)))
    wait_until(lambda: rig.broker.depth(step_queue("split")).ready == 1)
    rig.store.delete_prefix("work")
    rig.start("split", "blur", "encode")
    ended = rig.outcomes(2)
    assert [rig.files(ended[number]) for number in range(2)] == [by_hand(picture) for picture in pictures]
    assert [timing.step for timing in ended[0].timings] == [0, 1, 2, 3]


def test_intermediates_that_are_cut_off_count_as_lost(rig: Rig) -> None:
    rig.start("resize")
    rig.send(rig.chunk(CHAIN, rig.upload(draw(0))))
    wait_until(lambda: rig.broker.depth(step_queue("split")).ready == 1)
    (key,) = rig.store.list("work")
    rig.store.put(key, [rig.store.get(key)[:100]])
    rig.start("split", "blur", "encode")
    assert rig.files(rig.outcomes(1)[0]) == by_hand(draw(0))


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


def break_store(rig: Rig) -> Callable[[], None]:
    """Put a file where the store's folder for new objects is; returns what mends it."""
    temporary = rig.store.root / ".tmp"
    shutil.rmtree(temporary)
    temporary.write_bytes(b"")

    def mend() -> None:
        temporary.unlink()
        temporary.mkdir()

    return mend


def test_a_store_that_stays_away_ends_images_after_their_attempts(rig: Rig) -> None:
    images = rig.upload(b"no picture", draw(1), draw(2))
    break_store(rig)
    rig.start(max_attempts=2)
    rig.send(rig.chunk(CHAIN, images))
    ended = rig.outcomes(3)
    assert [ended[number].error.code for number in range(3)] == [
        "unsupported_type",
        "attempts_exhausted",
        "attempts_exhausted",
    ]
    assert ended[1].error.message.startswith("tried 2 times: the store cannot be used")
    assert [ended[number].error.retry for number in range(2)] == [False, True]
    wait_until(rig.idle)


def test_a_store_that_comes_back_costs_nothing(rig: Rig) -> None:
    images = rig.upload(draw(0), draw(1))
    mend = break_store(rig)
    rig.start(max_attempts=3, step_timeout_secs=0.5)
    rig.send(rig.chunk(CHAIN, images))
    time.sleep(0.6)  # within the pause before the second attempt, and longer than a step may take
    mend()
    ended = rig.outcomes(2)
    assert [rig.files(ended[number]) for number in range(2)] == [by_hand(draw(0)), by_hand(draw(1))]


def test_a_broker_that_takes_nothing_for_long_costs_no_image_an_attempt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.worker.loop._PAUSE_SECS", (0.01, 0.02))
    rig.send_as_from_the_dead(rig.chunk(CHAIN, rig.upload(draw(0))))
    rig.broker.away = True
    rig.start(max_attempts=3)
    wait_until(lambda: rig.broker.refused >= 6)
    assert rig.broker.depth(step_queue("resize")).in_flight + rig.broker.depth(step_queue("resize")).ready == 1
    rig.broker.away = False
    outcome = rig.outcomes(1)[0]
    assert (outcome.state, outcome.attempts) == ("done", 2)
    assert rig.files(outcome) == by_hand(draw(0))
    wait_until(rig.idle)


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


def test_a_worker_told_to_stop_finishes_one_image_and_gives_back_the_others(rig: Rig) -> None:
    rig.start()
    rig.send(rig.chunk([["pause", 0.2]], rig.upload(*(draw(number) for number in range(8)))))
    wait_until(lambda: rig.broker.depth(EVENTS_QUEUE).in_flight == 1)  # it has told that it has started
    rig.stop()
    waiting = rig.broker.consume([step_queue("pause")], 8)
    chunks = []
    while delivery := waiting.get(0.0):
        chunks.append(read_chunk(delivery.body))
    begun = 8 - len(chunks)
    assert begun <= 2
    assert [[image.id for image in chunk.images] for chunk in chunks] == [[number] for number in range(begun, 8)]
    waiting.close()
    rig.start()
    assert set(rig.outcomes(8)) == set(range(8))

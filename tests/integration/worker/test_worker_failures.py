"""Images survive workers that die, stores and brokers that are unreachable, and lost intermediates."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from waiting import wait_until
from worker_fixture import CHAIN, JOB, SECS, WorkerFixture, draw, expected_results

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, read_chunk, step_queue
from penstock.common.registry import operations
from penstock.common.store.base import Buffer
from penstock.common.store.keys import attempts_key, cancellation_key
from penstock.worker.memory import WorkerMemory


def test_a_redelivered_chunk_is_split_and_its_images_attempts_are_counted(workers: WorkerFixture) -> None:
    workers.send_redelivered(workers.chunk(CHAIN, workers.upload(draw(0), draw(1), draw(2))))
    workers.start()
    ended = workers.wait_for_outcomes(3)
    assert [ended[number].attempts for number in range(3)] == [2, 2, 2]
    assert workers.results(ended[1]) == expected_results(draw(1))
    finished = [[outcome.id for outcome in event.outcomes] for event in workers.seen if event.kind == "finished"]
    assert finished == [[0], [1], [2]]


def test_an_image_that_fails_after_some_results_says_which(workers: WorkerFixture) -> None:
    """They are the coordinator's to remove: only it knows that nobody else has finished the image."""
    plan = [{"op": "tile", "columns": 1, "rows": 2}, {"op": "encode", "format": "webp"}]
    workers.send(workers.chunk([], workers.upload(np.zeros((32_767, 1, 3), np.uint8), draw(0)), plan=plan))
    workers.start()
    ended = workers.wait_for_outcomes(2)
    assert [(ended[image].state, len(ended[image].results)) for image in (0, 1)] == [("failed", 1), ("done", 2)]
    assert ended[0].error is not None
    assert (ended[0].error.code, ended[0].error.step) == ("parameter_not_applicable", "encode")
    assert len(workers.results(ended[0])) == 1


def test_a_job_cancelled_between_two_results_says_which_were_written(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = workers.store.put

    def put_and_cancel(key: str, pieces: Sequence[Buffer], **how: Any) -> None:
        put(key, pieces, **how)
        if key.startswith("results/"):
            put(cancellation_key(JOB), [b""])
            time.sleep(0.1)  # longer than the worker remembers that the job was not cancelled

    monkeypatch.setattr(workers.store, "put", put_and_cancel)
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0), draw(1))))
    workers.start()
    outcome = workers.wait_for_outcomes(1)[0]
    assert (outcome.state, len(outcome.results)) == ("failed", 1)
    wait_until(workers.is_idle)
    assert len([*workers.store.list("results")]) == 1


def test_a_suspect_image_is_confirmed_before_the_next_image_starts(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would be blamed for a crash in the next one."""
    unconfirmed: list[Sequence[tuple[str, bytes]]] = []

    def publish_then(messages: Sequence[tuple[str, bytes]], then: Callable[[UnavailableError | None], None]) -> None:
        unconfirmed.append(messages)

    monkeypatch.setattr(workers.broker, "publish_then", publish_then)
    workers.send_redelivered(workers.chunk(CHAIN, workers.upload(draw(0))))
    workers.start()
    assert workers.wait_for_outcomes(1)[0].state == "done"
    assert not unconfirmed


def test_an_image_with_no_attempts_left_fails_without_another_start(workers: WorkerFixture) -> None:
    chunk = workers.chunk(CHAIN, workers.upload(draw(0)))
    key = write_attempts(workers, 3, workers.send_redelivered(chunk))
    workers.start(max_attempts=3)
    outcome = workers.wait_for_outcomes(1)[0]
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.step, outcome.attempts) == ("step_crashed", "blur", 3)
    assert outcome.error.message == "the worker died 3 times while it processed this image, last in blur"
    assert not [event for event in workers.seen if event.kind == "started" and event.job]
    wait_until(workers.is_idle)
    assert json.loads(workers.store.get(key))["count"] == 3, "no start is forgiven that did not happen"


def test_an_image_with_no_attempts_left_fails_without_its_pixels_being_read(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be what its worker had no memory for."""
    workers.start("resize", "split")
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0))))
    wait_until(lambda: workers.broker.depth(step_queue("blur")).ready == 1)
    workers.stop()
    lost = workers.broker.consume([step_queue("blur")], 1)
    delivery = lost.get(SECS)
    assert delivery is not None
    key = write_attempts(workers, 3, delivery.body)
    lost.close(lost=True)
    read: list[str] = []
    get, stream = workers.store.get, workers.store.stream
    monkeypatch.setattr(workers.store, "get", lambda key: (read.append(key), get(key))[1])
    monkeypatch.setattr(workers.store, "stream", lambda key, *span: (read.append(key), stream(key, *span))[1])
    workers.start("blur", max_attempts=3)
    error = workers.wait_for_outcomes(1)[0].error
    assert error is not None
    assert (error.code, error.step, error.resume_blob) == ("step_crashed", "blur", None)
    assert read == [key, attempts_key(JOB, 0, 0)]


def test_an_image_that_was_sent_again_is_not_blamed_for_the_starts_of_its_first_message(
    workers: WorkerFixture,
) -> None:
    """It looked lost while a worker tried it alone; that worker may still be at it, and has died with it before."""
    images = workers.upload(draw(0))
    first, _ = (workers.send(workers.chunk(CHAIN, images, enqueued_at=at)) for at in (1.0, 2.0))
    write_attempts(workers, 2, first)
    lost = workers.broker.consume([step_queue("resize")], 2)
    assert lost.get(SECS) is not None
    assert lost.get(SECS) is not None
    lost.close(lost=True)
    workers.start(max_attempts=3)
    ended = [workers.wait_for_outcomes(1)[0] for _ in range(2)]
    assert [(outcome.state, outcome.attempts) for outcome in ended] == [("done", 3), ("done", 2)]


def test_an_image_that_has_failed_is_not_started_again_by_another_message(workers: WorkerFixture) -> None:
    images = workers.upload(draw(0))
    first, second = (workers.chunk(CHAIN, images, enqueued_at=at) for at in (1.0, 2.0))
    write_attempts(workers, 3, workers.send_redelivered(first))
    workers.start(max_attempts=3)
    errors = [workers.wait_for_outcomes(1)[0].error]
    wait_until(workers.is_idle)
    workers.stop()
    workers.send_redelivered(second)
    workers.start(max_attempts=3)
    errors.append(workers.wait_for_outcomes(1)[0].error)
    assert errors[0] == errors[1]
    assert errors[0].code == "step_crashed"
    assert not [event for event in workers.seen if event.kind == "started" and event.job]


def write_attempts(workers: WorkerFixture, count: int, message: bytes) -> str:
    """Store how often workers died in blur while they had a message for image 0; return where."""
    key = attempts_key(JOB, 0, 0, message)
    workers.store.put(key, [json.dumps({"count": count, "step": 2, "operation": "blur"}).encode()])
    return key


@pytest.mark.parametrize("redelivered", [False, True])
def test_an_image_that_does_not_fit_into_memory_fails_alone(workers: WorkerFixture, redelivered: bool) -> None:
    """Its neighbours in the same message, and in the same blob, are done."""
    plan = [["resize", "100%"], ["blur", "median"]]
    big, small = np.zeros((500, 800, 3), np.uint8), draw(0)
    workers.start("resize")
    workers.send(workers.chunk(plan, workers.upload(small, big, small)))
    wait_until(lambda: workers.broker.depth(step_queue("blur")).ready == 1)
    if redelivered:
        lost = workers.broker.consume([step_queue("blur")], 1)
        assert lost.get(20.0) is not None
        lost.close(lost=True)
    workers.start("blur", memory=WorkerMemory(9_000_000, 2_300_000))
    workers.start("encode")
    ended = workers.wait_for_outcomes(3)
    assert [ended[number].state for number in range(3)] == ["done", "failed", "done"]
    error = ended[1].error
    assert error is not None
    assert (error.code, error.step, error.resume_blob) == ("too_many_pixels", "blur", None)
    assert error.message.startswith("blur needs at least 3 MB of memory for this image; its worker has 2 MB")


def test_attempts_are_stored_with_the_current_operation_and_forgiven_at_the_end(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, put = [], workers.store.put
    chunk = workers.chunk(CHAIN, workers.upload(draw(0)))
    key = attempts_key(JOB, 0, 0, workers.send_redelivered(chunk))
    monkeypatch.setattr(
        workers.store, "put", lambda at, data, **how: (stored.append(data) if at == key else None, put(at, data, **how))
    )
    workers.start()
    workers.wait_for_outcomes(1)
    wait_until(workers.is_idle)
    attempts = [tuple(json.loads(data[0]).values()) for data in stored]
    steps = [(0, "decode"), (0, "resize"), (1, "split"), (2, "blur"), (3, "encode")]
    assert attempts == [*((2, *step) for step in steps), (1, 0, "")]


def test_an_image_that_is_redelivered_without_a_crash_does_not_fail(workers: WorkerFixture) -> None:
    chunk = workers.chunk(CHAIN, workers.upload(draw(0)))
    for _ in range(5):
        workers.send_redelivered(chunk)
        workers.start(max_attempts=3)
        assert workers.wait_for_outcomes(1)[0].state == "done"
        workers.stop()


def test_images_whose_intermediates_are_lost_restart_from_their_sources(workers: WorkerFixture) -> None:
    workers.start("resize")
    images = [draw(0), draw(1)]
    workers.send(workers.chunk(CHAIN, workers.upload(*images)))
    wait_until(lambda: workers.broker.depth(step_queue("split")).ready == 1)
    workers.store.delete_prefix("work")
    workers.start("split", "blur", "encode")
    ended = workers.wait_for_outcomes(2)
    assert [workers.results(ended[number]) for number in range(2)] == [expected_results(image) for image in images]
    assert [timing.step for timing in ended[0].timings] == [0, 1, 2, 3]


def test_images_whose_intermediates_are_lost_again_are_dropped(
    workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector deletes what the images of an ended job write: they would start again for ever."""
    put, written = workers.store.put, []

    def put_and_delete(key: str, data: Sequence[Buffer], **options: Any) -> None:
        put(key, data, **options)
        if key.endswith("-1"):  # what waits for operation 1
            written.append(key)
            workers.store.delete(key)

    monkeypatch.setattr(workers.store, "put", put_and_delete)
    workers.start("resize")
    workers.start("split", "blur", "encode")
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0), draw(1))))
    wait_until(workers.is_idle)
    assert len(written) == 1 + 2, "of both images, and then again of each"
    assert not [*workers.store.list("results")]


def test_truncated_intermediates_count_as_lost(workers: WorkerFixture) -> None:
    workers.start("resize")
    workers.send(workers.chunk(CHAIN, workers.upload(draw(0))))
    wait_until(lambda: workers.broker.depth(step_queue("split")).ready == 1)
    (key,) = workers.store.list("work")
    workers.store.put(key, [workers.store.get(key)[:100]])
    workers.start("split", "blur", "encode")
    assert workers.results(workers.wait_for_outcomes(1)[0]) == expected_results(draw(0))


def break_store(workers: WorkerFixture) -> Callable[[], None]:
    """Put a file where the store's folder for new objects is; returns what repairs it."""
    temporary = workers.store.root / ".tmp"
    shutil.rmtree(temporary)
    temporary.write_bytes(b"")

    def repair() -> None:
        temporary.unlink()
        temporary.mkdir()

    return repair


def test_images_wait_for_an_unreachable_store_beyond_every_limit(
    workers: WorkerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    images = workers.upload(b"no image", draw(1), draw(2))
    repair = break_store(workers)
    workers.start(max_attempts=1, step_timeout_secs=0.5)
    workers.send(workers.chunk(CHAIN, images))
    assert workers.wait_for_outcomes(1)[0].error.code == "unsupported_type"
    reports = wait_for_reports(workers, 5)
    assert {report.waiting_for for report in reports} == {"store (Not a directory)"}
    states = [event for event in reports if not event.job]
    assert {event.steps for event in states} == {tuple(sorted(operations()))}
    given_back = [event for event in reports if event.job]
    assert {(event.kind, event.step, *event.images) for event in given_back} == {("stepped", 0, 1, 2)}
    assert workers.broker.depth(step_queue("resize")).ready == 1, "the worker has given the chunk back"
    repair()
    ended = workers.wait_for_outcomes(2)
    assert [workers.results(ended[number]) for number in (1, 2)] == [expected_results(draw(n)) for n in (1, 2)]
    assert [ended[number].attempts for number in (1, 2)] == [1, 1]
    wait_until(lambda: "can be used again" in caplog.text)
    assert caplog.text.count("the worker is waiting for the store: the store cannot be used") == 1
    assert caplog.text.count("the store can be used again after") == 1
    wait_until(workers.is_idle)
    workers.stop()
    workers.next_events(time.monotonic() + SECS)
    assert [event.waiting_for for event in workers.seen if not event.job and event.steps][-1] is None
    waited = [event.measures.waited for event in workers.seen if event.measures and event.measures.waited]
    assert set(waited[0]) == set(operations())
    assert waited[0]["blur"]["store"] > 0


def test_an_outage_costs_a_suspect_image_no_attempt(workers: WorkerFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store takes the count of the start, then nothing: the count cannot be taken back there."""
    away = threading.Event()
    put, check = workers.store.put, workers.store.check

    def put_until_away(key: str, pieces: Sequence[Buffer], **how: Any) -> None:
        if away.is_set():
            raise UnavailableError("store", "the store answers with status 503")
        put(key, pieces, **how)
        if "/attempts-" in key:
            away.set()

    def check_and_return() -> None:
        if away.is_set():
            away.clear()
            raise UnavailableError("store", "the store answers with status 503")
        check()

    monkeypatch.setattr(workers.store, "put", put_until_away)
    monkeypatch.setattr(workers.store, "check", check_and_return)
    workers.send_redelivered(workers.chunk(CHAIN, workers.upload(draw(0))))
    workers.start(max_attempts=2)
    wait_for_reports(workers, 8)
    monkeypatch.setattr(workers.store, "put", put)
    monkeypatch.setattr(workers.store, "check", check)
    outcome = workers.wait_for_outcomes(1)[0]
    assert (outcome.state, outcome.attempts) == ("done", 2)


def test_an_object_that_the_store_cannot_keep_fails_its_image_alone(workers: WorkerFixture) -> None:
    images = workers.upload(draw(0), draw(1))
    images[0] = images[0].model_copy(update={"stem": "x" * 300})
    workers.start(max_attempts=2)
    workers.send(workers.chunk(CHAIN, images))
    ended = workers.wait_for_outcomes(2)
    assert ended[0].error.code == "attempts_exhausted"
    assert ended[0].error.message == "tried 2 times: the store cannot be used: File name too long"
    assert ended[1].state == "done"


def wait_for_reports(workers: WorkerFixture, count: int) -> list[Event]:
    """Return what workers have reported to wait for, once there are `count` such events."""
    deadline = time.monotonic() + SECS
    while len(reports := [event for event in workers.seen if event.waiting_for]) < count:
        workers.next_events(deadline)
    return reports


def test_an_unreachable_broker_costs_no_image_an_attempt(workers: WorkerFixture) -> None:
    workers.send_redelivered(workers.chunk(CHAIN, workers.upload(draw(0))))
    workers.broker.unreachable = True
    workers.start(max_attempts=3)
    wait_until(lambda: workers.broker.refused >= 6)
    depth = workers.broker.depth(step_queue("resize"))
    assert depth.in_flight + depth.ready == 1
    workers.broker.unreachable = False
    outcome = workers.wait_for_outcomes(1)[0]
    assert (outcome.state, outcome.attempts) == ("done", 2)
    assert workers.results(outcome) == expected_results(draw(0))
    wait_until(workers.is_idle)


def test_a_draining_worker_finishes_one_image_and_requeues_the_others(workers: WorkerFixture) -> None:
    """No worker has died, so no attempt is counted."""
    workers.start(max_attempts=1)
    workers.send(workers.chunk([["pause", 0.2]], workers.upload(*(draw(number) for number in range(8)))))
    wait_until(lambda: workers.broker.depth(EVENTS_QUEUE).in_flight == 1)  # it has published that it started
    workers.stop()
    waiting = workers.broker.consume([step_queue("pause")], 8)
    chunks = []
    while delivery := waiting.get(0.0):
        chunks.append(read_chunk(delivery.body))
    [left] = [[image.id for image in chunk.images] for chunk in chunks]
    assert left == [*range(8 - len(left), 8)]
    assert len(left) >= 6
    waiting.close()
    workers.start(max_attempts=1)
    ended = workers.wait_for_outcomes(8)
    assert [(ended[number].state, ended[number].attempts) for number in range(8)] == [("done", 1)] * 8

"""What becomes of images when workers die, stores and brokers are away, or intermediates are lost."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until
from worker_rig import CHAIN, JOB, Rig, by_hand, draw

from penstock.common.backoff import Backoff
from penstock.common.model.messages import (
    EVENTS_QUEUE,
    read_chunk,
    step_queue,
)
from penstock.common.store.keys import attempts_key


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
    monkeypatch.setattr("penstock.worker.worker._PAUSE", Backoff(0.02, 0.02))
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

"""What a worker counts reaches the coordinator in its events, traces go through it, and its logs say what about."""

from __future__ import annotations

import io
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import wait_until
from worker_rig import JOB, SECS, Rig, draw

from penstock.common.logs import JsonFormatter
from penstock.common.model.errors import UnavailableError
from penstock.common.model.plan import Planned
from penstock.coordinator.ports.counters import Counters

OPS = [["resize", "64x48"]]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def hear_chunks(rig: Rig, count: int) -> Counters:
    """Add up what workers tell, until they have told of so many chunks."""
    meters = Counters()
    deadline = time.monotonic() + SECS
    while sum(meters.taken_chunks.values()) < count:
        for event in rig.hear(deadline):
            if event.measures is not None:
                meters.add(event.measures)
    return meters


def test_chunks_that_came_again_are_told_apart(rig: Rig) -> None:
    first, second = rig.upload(draw(1), draw(2))
    rig.send_as_from_the_dead(rig.chunk(OPS, [first]))
    rig.send(rig.chunk(OPS, [second], chunk="1-abc"))
    rig.start()
    assert set(rig.outcomes(2)) == {0, 1}
    rig.stop()  # and what was counted last is told as it leaves
    told = [event.measures for event in rig.seen if event.measures is not None]
    rest = hear_chunks(rig, 2 - sum(measures.chunks.get("resize", 0) for measures in told))
    redelivered = sum((Counter(measures.redelivered) for measures in told), Counter())
    assert redelivered + rest.redelivered_chunks == {"resize": 1}


def test_what_was_counted_and_went_along_with_nothing_is_told_of_no_job(rig: Rig) -> None:
    rig.start()
    rig.benches[0].tally.count_call("store.get", 0.5)
    rig.stop()
    [event] = [event for event in rig.hear(time.monotonic() + SECS) if event.measures is not None]
    assert (event.job, event.images, event.outcomes) == ("", [], [])
    assert [calls.what for calls in event.measures.calls] == ["store.get"]


def test_a_worker_without_tracing_hands_the_trace_on(rig: Rig) -> None:
    rig.broker.declare(["penstock.step.encode"])
    waiting = rig.broker.consume(["penstock.step.encode"], 1)
    rig.start("resize")
    rig.send(rig.chunk(OPS, rig.upload(draw(3)), traceparent=TRACEPARENT))
    delivery = waiting.get(SECS)
    assert delivery is not None
    assert TRACEPARENT.encode() in delivery.body
    waiting.ack(delivery)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, as machines read it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter("worker"))
    logging.getLogger("penstock").addHandler(handler)
    yield written
    logging.getLogger("penstock").removeHandler(handler)


def read(log: io.StringIO, severity: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in log.getvalue().splitlines()]
    return [record for record in records if record["severity"] == severity]


def test_a_worker_of_several_steps_logs_the_one_that_it_has_come_to(
    rig: Rig, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start()
    hands = rig.benches[0].hands
    perform = hands.perform

    def stumble(planned: Planned, parts: list[Any]) -> list[Any]:
        if planned.step == "split":
            raise RuntimeError("nobody expected it")
        return perform(planned, parts)

    monkeypatch.setattr(hands, "perform", stumble)
    rig.send(rig.chunk([["resize", "64x48"], ["split", True]], rig.upload(draw(1))))
    assert rig.outcomes(1)[0].state == "failed"
    [record] = read(log, "ERROR")
    assert (record["job"], record["step"], record["chunk"]) == (JOB, "split", "0-abc")


def test_a_chunk_that_is_given_back_unopened_is_logged_with_its_job_and_step(rig: Rig, log: io.StringIO) -> None:
    rig.send_as_from_the_dead(rig.chunk(OPS, rig.upload(draw(1), draw(2))))
    rig.broker.away = True
    rig.start()
    wait_until(lambda: rig.broker.refused >= 1)
    wait_until(lambda: read(log, "WARNING"))
    rig.broker.away = False
    assert set(rig.outcomes(2)) == {0, 1}
    record = read(log, "WARNING")[0]
    assert record["message"] == "a chunk from penstock.step.resize is given back: away"
    assert (record["job"], record["step"], record["chunk"]) == (JOB, "resize", "0-abc")


def test_a_chunk_whose_plan_cannot_be_read_for_now_is_logged_with_its_job_and_step(
    rig: Rig, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.store.put("plans/job", [json.dumps(rig.chunk(OPS, []).plan).encode()])
    get, troubles = rig.store.get, [UnavailableError("store", "away")]

    def get_once_it_is_back(key: str) -> bytes:
        if troubles:
            raise troubles.pop()
        return get(key)

    monkeypatch.setattr(rig.store, "get", get_once_it_is_back)
    rig.start()
    body = rig.chunk(OPS, rig.upload(draw(1))).model_copy(update={"plan": "plans/job"}).model_dump_json()
    rig.broker.publish("penstock.step.resize", [body.encode()])
    assert set(rig.outcomes(1)) == {0}
    [record] = read(log, "WARNING")
    assert (record["job"], record["step"], record["chunk"]) == (JOB, "resize", "0-abc")

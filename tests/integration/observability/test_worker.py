"""A worker publishes its counters in events, passes traces on, and logs what each record is about."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import wait_until
from worker_fixture import JOB, SECS, WorkerFixture, draw

from penstock.common.logs import JsonFormatter
from penstock.common.model.errors import UnavailableError
from penstock.common.model.plan import Planned
from penstock.coordinator.ports.counters import Counters

OPS = [["resize", "64x48"]]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def sum_counters(workers: WorkerFixture, count: int) -> Counters:
    """Add up the counters in events until they cover so many chunks."""
    counters = Counters()
    deadline = time.monotonic() + SECS
    while sum(counters.taken_chunks.values()) < count:
        for event in workers.next_events(deadline):
            if event.measures is not None:
                counters.add_measures(event.measures)
    return counters


def test_redelivered_chunks_are_counted_separately(workers: WorkerFixture) -> None:
    first, second = workers.upload(draw(1), draw(2))
    workers.send_redelivered(workers.chunk(OPS, [first]))
    workers.send(workers.chunk(OPS, [second], chunk="1-abc"))
    workers.start()
    assert set(workers.wait_for_outcomes(2)) == {0, 1}
    workers.stop()  # which publishes the last counters
    told = [event.measures for event in workers.seen if event.measures is not None]
    rest = sum_counters(workers, 2 - sum(measures.chunks.get("resize", 0) for measures in told))
    redelivered = sum((Counter(measures.redelivered) for measures in told), Counter())
    assert redelivered + rest.redelivered_chunks == {"resize": 1}


def test_counters_that_no_event_carried_are_published_without_a_job(workers: WorkerFixture) -> None:
    worker = workers.start()
    worker.context.counters.count_call("store.get", 0.5)
    workers.stop()
    [event] = [event for event in workers.next_events(time.monotonic() + SECS) if event.measures is not None]
    assert (event.job, event.images, event.outcomes) == ("", [], [])
    assert [calls.what for calls in event.measures.calls] == ["store.get"]


def test_a_worker_without_tracing_passes_the_trace_on(workers: WorkerFixture) -> None:
    workers.broker.declare(["penstock.step.encode"])
    waiting = workers.broker.consume(["penstock.step.encode"], 1)
    workers.start("resize")
    workers.send(workers.chunk(OPS, workers.upload(draw(3)), traceparent=TRACEPARENT))
    delivery = waiting.get(SECS)
    assert delivery is not None
    assert TRACEPARENT.encode() in delivery.body
    waiting.ack(delivery)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log as JSON lines."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter("worker"))
    logging.getLogger("penstock").addHandler(handler)
    yield written
    logging.getLogger("penstock").removeHandler(handler)


def read(log: io.StringIO, severity: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in log.getvalue().splitlines()]
    return [record for record in records if record["severity"] == severity]


def test_a_worker_of_several_steps_logs_the_current_one(
    workers: WorkerFixture, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = workers.start().context.executor
    perform = executor.perform

    def fail_in_split(operation: Planned, parts: list[Any]) -> list[Any]:
        if operation.step == "split":
            raise RuntimeError("unexpected")
        return perform(operation, parts)

    monkeypatch.setattr(executor, "perform", fail_in_split)
    workers.send(workers.chunk([["resize", "64x48"], ["split", True]], workers.upload(draw(1))))
    assert workers.wait_for_outcomes(1)[0].state == "failed"
    [record] = read(log, "ERROR")
    assert (record["job"], record["step"], record["chunk"]) == (JOB, "split", "0-abc")


def test_an_outage_is_logged_with_the_chunk_that_met_it(workers: WorkerFixture, log: io.StringIO) -> None:
    workers.send_redelivered(workers.chunk(OPS, workers.upload(draw(1), draw(2))))
    workers.broker.unreachable = True
    workers.start()
    wait_until(lambda: workers.broker.refused >= 1)
    wait_until(lambda: read(log, "WARNING"))
    workers.broker.unreachable = False
    assert set(workers.wait_for_outcomes(2)) == {0, 1}
    record = read(log, "WARNING")[0]
    assert record["message"] == "the worker is waiting for the broker: unreachable"
    assert (record["job"], record["step"], record["chunk"]) == (JOB, "resize", "0-abc")


def test_a_chunk_whose_plan_is_unreachable_is_logged_with_its_job_and_step(
    workers: WorkerFixture, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.store.put("plans/job", [json.dumps(workers.chunk(OPS, []).plan).encode()])
    get, reachable = workers.store.get, threading.Event()

    def get_if_reachable(key: str) -> bytes:
        if not reachable.is_set():
            raise UnavailableError("store", "unreachable")
        return get(key)

    monkeypatch.setattr(workers.store, "get", get_if_reachable)
    workers.start()
    body = workers.chunk(OPS, workers.upload(draw(1))).model_copy(update={"plan": "plans/job"}).model_dump_json()
    workers.broker.publish("penstock.step.resize", [body.encode()])
    wait_until(lambda: read(log, "WARNING"))
    reachable.set()
    assert set(workers.wait_for_outcomes(1)) == {0}
    record = read(log, "WARNING")[0]
    assert (record["job"], record["step"], record["chunk"]) == (JOB, "resize", "0-abc")

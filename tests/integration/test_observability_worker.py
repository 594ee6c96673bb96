"""What a worker counts reaches the coordinator in its events; and a trace goes on through a worker that has none."""

from __future__ import annotations

import time
from collections import Counter

from worker_rig import SECS, Rig, draw

from penstock.coordinator.meters import Meters

OPS = [["resize", "64x48"]]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def hear_chunks(rig: Rig, count: int) -> Meters:
    """Add up what workers tell, until they have told of so many chunks."""
    meters = Meters()
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

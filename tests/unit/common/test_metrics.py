"""Counters and histograms: calls by duration, and counts that travel in events."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.broker.base import QueueDepth
from penstock.common.broker.memory import MemoryBroker
from penstock.common.metrics import CALL_BOUNDS_SECS, CallCounters, Histogram
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Calls, Event, Measures, read_events, write_events
from penstock.common.store.base import ObjectNotFoundError
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.composite import CompositeStore
from penstock.common.store.local import LocalStore


def calls_of(counters: CallCounters) -> dict[str, Calls]:
    return {calls.what: calls for calls in counters.read().calls}


def test_a_value_is_counted_in_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram((1, 2, 5))
    for value in 0.5, 1.0, 1.1, 5.0, 9.0:
        histogram.observe(value)
    assert histogram.buckets == [2, 1, 1, 1]
    assert histogram.sum == pytest.approx(16.6)


def test_another_histogram_is_added_bucket_by_bucket() -> None:
    histogram = Histogram((1, 2))
    histogram.observe(3.0)
    histogram.add([4, 0, 1], 9.5)
    assert (histogram.buckets, histogram.sum) == ([4, 0, 2], 12.5)
    with pytest.raises(ValueError, match="zip"):
        histogram.add([1, 2], 1.0)


def test_calls_of_a_store_are_counted(tmp_path: Path) -> None:
    counters = CallCounters()
    store = CompositeStore(LocalStore(tmp_path), BucketAllowlist(), counters)
    store.put("a/b", [b"pixels"])
    assert store.get("a/b") == b"pixels"
    assert store.size("a/b") == 6
    assert list(store.stream("a/b")) == [b"pixels"]
    store.delete("a/b")
    store.delete_prefix("a")
    with pytest.raises(ObjectNotFoundError):
        store.get("a/b")
    counted = calls_of(counters)
    assert {call: sum(counts.buckets) for call, counts in counted.items()} == {
        "store.put": 1,
        "store.get": 2,
        "store.size": 1,
        "store.stream": 1,
        "store.delete": 1,
        "store.delete_prefix": 1,
    }
    assert counted["store.get"].failed == 0, "a missing object is an answer"
    assert len(counted["store.get"].buckets) == len(CALL_BOUNDS_SECS) + 1


def test_a_call_of_an_unreachable_store_counts_as_failed(tmp_path: Path) -> None:
    counters = CallCounters()
    store = CompositeStore(LocalStore(tmp_path), BucketAllowlist(), counters)
    (tmp_path / ".tmp").rmdir()
    with pytest.raises(UnavailableError):
        store.put("a/b", [b"pixels"])
    assert calls_of(counters)["store.put"].failed == 1


def test_calls_of_a_broker_are_counted_for_the_view_that_makes_them() -> None:
    counters = CallCounters()
    queues = MemoryBroker()
    broker = queues.counted_by(counters)
    broker.declare(["q"])
    broker.publish("q", [b"a"], confirm=False)
    broker.publish_then([("q", b"b"), ("q", b"c")], lambda _: None)
    assert queues.depth("q") == broker.depth("q") == QueueDepth(3, 0)
    assert {call: sum(counts.buckets) for call, counts in calls_of(counters).items()} == {
        "broker.declare": 1,
        "broker.publish": 2,
        "broker.depth": 1,
    }


@pytest.mark.parametrize("error", [None, UnavailableError("broker", "no")])
def test_a_publication_lasts_until_it_is_confirmed(error: UnavailableError | None) -> None:
    counters = CallCounters()
    confirmed: list[UnavailableError | None] = []
    on_confirm = counters.time_until_called("broker.publish", confirmed.append)
    assert calls_of(counters) == {}
    on_confirm(error)
    assert confirmed == [error]
    assert calls_of(counters)["broker.publish"].failed == (error is not None)


def test_taking_the_counts_starts_again_at_zero() -> None:
    counters = CallCounters()
    counters.count_call("store.get", 0.002)
    counters.count_chunk("blur", redelivered=False)
    counters.count_chunk("blur", redelivered=True)
    taken = counters.take()
    assert (taken.chunks, taken.redelivered) == ({"blur": 2}, {"blur": 1})
    assert [calls.what for calls in taken.calls] == ["store.get"]
    assert counters.take() == Measures()


def test_counts_survive_a_message_and_older_messages_have_none() -> None:
    counters = CallCounters()
    counters.count_call("broker.publish", 0.3, failed=True)
    event = Event(kind="started", job="j", chunk="c", measures=counters.take())
    assert read_events(write_events([event])) == [event]
    assert read_events(b'{"v": 1, "kind": "started", "job": "j", "chunk": "c"}')[0].measures is None

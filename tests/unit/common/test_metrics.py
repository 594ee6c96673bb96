"""Counting without a metrics library: calls by how long they took, and what is taken along in events."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.broker.memory import MemoryBroker
from penstock.common.metrics import CALL_BOUNDS_SECS, CallCounters, Histogram, measure
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Calls, Event, Measures, read_events, write_events
from penstock.common.store.base import ObjectNotFoundError
from penstock.common.store.local import LocalStore


def calls_of(tally: CallCounters) -> dict[str, Calls]:
    return {calls.what: calls for calls in tally.read().calls}


def test_a_value_counts_for_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1, 2, 5))
    for value in 0.5, 1.0, 1.1, 5.0, 9.0:
        histogram.observe(value)
    assert histogram.buckets == [2, 1, 1, 1]
    assert histogram.sum == pytest.approx(16.6)


def test_what_others_counted_is_added_bound_by_bound() -> None:
    histogram = Histogram((1, 2))
    histogram.observe(3.0)
    histogram.add([4, 0, 1], 9.5)
    assert (histogram.buckets, histogram.sum) == ([4, 0, 2], 12.5)
    with pytest.raises(ValueError, match="zip"):
        histogram.add([1, 2], 1.0)


def test_calls_of_a_store_are_counted_and_do_what_they_did(tmp_path: Path) -> None:
    tally = CallCounters()
    store = measure(LocalStore(tmp_path), "store", tally)
    store.put("a/b", [b"pixels"])
    assert store.get("a/b") == b"pixels"
    assert list(store.list("a")) == ["a/b"], "what is not counted is there as well"
    with pytest.raises(ObjectNotFoundError):
        store.get("a/c")
    counted = calls_of(tally)
    assert {what: sum(calls.buckets) for what, calls in counted.items()} == {"store.put": 1, "store.get": 2}
    assert counted["store.get"].failed == 0, "an object that is not there is an answer"
    assert len(counted["store.get"].buckets) == len(CALL_BOUNDS_SECS) + 1


def test_a_store_that_is_away_is_counted_as_failed(tmp_path: Path) -> None:
    tally = CallCounters()
    store = measure(LocalStore(tmp_path), "store", tally)
    (tmp_path / ".tmp").rmdir()
    with pytest.raises(UnavailableError):
        store.put("a/b", [b"pixels"])
    assert calls_of(tally)["store.put"].failed == 1


def test_a_publication_lasts_until_it_is_confirmed() -> None:
    tally = CallCounters()
    broker = measure(MemoryBroker(), "broker", tally)
    broker.declare(["q"])
    settled: list[object] = []
    broker.publish_then([("q", b"a")], settled.append)
    broker.publish("q", [b"b"], confirm=False)
    assert settled == [None]
    assert broker.depth("q").ready == 2
    assert sum(calls_of(tally)["broker.publish"].buckets) == 2


def test_what_was_taken_along_is_counted_no_more() -> None:
    tally = CallCounters()
    tally.count_call("store.get", 0.002)
    tally.count_chunk("blur", redelivered=False)
    tally.count_chunk("blur", redelivered=True)
    taken = tally.take()
    assert (taken.chunks, taken.redelivered) == ({"blur": 2}, {"blur": 1})
    assert [calls.what for calls in taken.calls] == ["store.get"]
    assert tally.take() == Measures()


def test_measures_come_through_a_message_and_older_messages_have_none() -> None:
    tally = CallCounters()
    tally.count_call("broker.publish", 0.3, failed=True)
    event = Event(kind="started", job="j", chunk="c", measures=tally.take())
    assert read_events(write_events([event])) == [event]
    assert read_events(b'{"v": 1, "kind": "started", "job": "j", "chunk": "c"}')[0].measures is None

"""Starts of an image over which a worker died, and whether a job was cancelled: both kept in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.store.local import LocalStore
from penstock.worker.attempts import AttemptCount, read_starts, write_starts
from penstock.worker.cancelled_jobs import CancelledJobs


def test_the_start_that_put_an_image_under_suspicion_counts(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert read_starts(store, "j", 0, 7, 2) == AttemptCount(1, 2)
    write_starts(store, "j", 0, 7, AttemptCount(2, 3))
    assert read_starts(store, "j", 0, 7, 2) == AttemptCount(2, 3)


def test_starts_are_counted_for_each_run_of_each_image(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_starts(store, "j", 0, 7, AttemptCount(3, 0))
    assert read_starts(store, "j", 1, 7, 0).count == 1
    assert read_starts(store, "j", 0, 8, 0).count == 1
    assert read_starts(store, "k", 0, 7, 0).count == 1


def test_a_cancel_is_looked_up_once_in_a_while_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked, cancelled = [0.0], [], set()
    monkeypatch.setattr("penstock.worker.cancelled_jobs.time.monotonic", lambda: now[0])
    tombstones = CancelledJobs(lambda job: asked.append(job) or job in cancelled, hold_secs=2.0)
    assert [tombstones.has("a"), tombstones.has("a"), tombstones.has("b")] == [False] * 3
    assert asked == ["a", "b"]
    cancelled.add("a")
    assert not tombstones.has("a")
    now[0] = 2.0
    assert tombstones.has("a")
    cancelled.clear()
    now[0] = 100.0
    assert tombstones.has("a")


def test_jobs_by_the_thousand_take_bounded_memory() -> None:
    tombstones = CancelledJobs(lambda job: False, hold_secs=60.0)
    for number in range(5_000):
        tombstones.has(str(number))
    assert len(tombstones._seen) <= 1_000

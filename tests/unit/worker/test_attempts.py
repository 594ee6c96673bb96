"""Attempts of an image, kept in the store."""

from __future__ import annotations

from pathlib import Path

from penstock.common.model.messages import Chunk, ImageRef
from penstock.common.store.local import LocalStore
from penstock.worker.attempts import Attempt, AttemptCount, read_attempts, write_attempts


def test_the_start_before_the_first_count_is_counted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert read_attempts(store, "j", 0, 7, 2) == AttemptCount(1, 2)
    write_attempts(store, "j", 0, 7, AttemptCount(2, 3))
    assert read_attempts(store, "j", 0, 7, 2) == AttemptCount(2, 3)


def test_attempts_are_counted_for_each_run_of_each_image(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_attempts(store, "j", 0, 7, AttemptCount(3, 0))
    assert read_attempts(store, "j", 1, 7, 0).count == 1
    assert read_attempts(store, "j", 0, 8, 0).count == 1
    assert read_attempts(store, "k", 0, 7, 0).count == 1


def test_an_attempt_is_stored_at_each_operation_and_forgiven_only_if_it_was_started(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    chunk = Chunk(job="j", chunk="c", step=1, plan=[], images=[ImageRef(id=7, stem="x", ref="")])
    write_attempts(store, "j", 0, 7, AttemptCount(2, 1))
    Attempt(store, chunk, 3).forgive()
    assert read_attempts(store, "j", 0, 7, 1) == AttemptCount(2, 1)
    attempt = Attempt(store, chunk, 3)
    for step in (1, 1, 2):
        attempt.enter(step)
    assert read_attempts(store, "j", 0, 7, 1) == AttemptCount(3, 2)
    attempt.forgive()
    assert read_attempts(store, "j", 0, 7, 1) == AttemptCount(2, 1)

"""Attempts of an image, kept in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.model.messages import Chunk, ImageRef
from penstock.common.store.local import LocalStore
from penstock.worker.attempts import Attempts


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def read(store: LocalStore, job: str = "j", run: int = 0, image: int = 7) -> Attempts:
    chunk = Chunk(job=job, run=run, chunk="c", step=1, plan=[], images=[ImageRef(id=image, stem="x", ref="")])
    return Attempts(store, chunk)


def test_the_start_before_the_first_count_is_counted(store: LocalStore) -> None:
    attempts = read(store)
    assert (attempts.count, attempts.step) == (1, 1)
    attempts.count += 1
    attempts.enter(3)
    assert (read(store).count, read(store).step) == (2, 3)


def test_attempts_are_counted_for_each_run_of_each_image(store: LocalStore) -> None:
    attempts = read(store)
    attempts.count = 3
    attempts.enter(0)
    assert read(store).count == 3
    assert read(store, run=1).count == read(store, image=8).count == read(store, job="k").count == 1


def test_an_attempt_is_stored_at_each_operation_and_forgiven_only_if_it_was_started(store: LocalStore) -> None:
    read(store).forgive()
    assert (read(store).count, read(store).step) == (1, 1)
    attempts = read(store)
    attempts.count += 1
    for step in (1, 1, 2):
        attempts.enter(step)
        assert (read(store).count, read(store).step) == (2, step)
    attempts.forgive()
    assert (read(store).count, read(store).step) == (1, 1)

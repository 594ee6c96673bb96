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


def read(store: LocalStore, job: str = "j", run: int = 0, image: int = 7, message: bytes = b"{}") -> Attempts:
    chunk = Chunk(job=job, run=run, chunk="c", step=1, plan=[], images=[ImageRef(id=image, stem="x", ref="")])
    return Attempts(store, chunk, message)


def test_the_start_before_the_first_count_is_counted(store: LocalStore) -> None:
    attempts = read(store)
    assert (attempts.count, attempts.step) == (1, 1)
    attempts.count += 1
    attempts.enter(3)
    assert (read(store).count, read(store).step) == (2, 3)


def test_what_was_reached_is_told_apart_from_the_step_that_it_belongs_to(store: LocalStore) -> None:
    assert read(store).operation == ""
    attempts = read(store)
    for operation in ("decode", "resize"):
        attempts.enter(1, operation)
        assert (read(store).step, read(store).operation) == (1, operation)


def test_attempts_are_counted_for_each_run_of_each_image(store: LocalStore) -> None:
    attempts = read(store)
    attempts.count = 3
    attempts.enter(0)
    assert read(store).count == 3
    assert read(store, run=1).count == read(store, image=8).count == read(store, job="k").count == 1


def test_two_messages_for_one_image_do_not_count_each_others_starts(store: LocalStore) -> None:
    first, second = read(store, message=b"first"), read(store, message=b"second")
    for attempts in (first, second):
        assert attempts.count == 1
        attempts.count += 1
        attempts.enter(2)
    assert (read(store, message=b"first").count, read(store, message=b"second").count) == (2, 2)
    first.forgive()
    assert (read(store, message=b"first").count, read(store, message=b"second").count) == (1, 2)


def test_the_count_with_which_an_image_failed_holds_for_all_its_messages(store: LocalStore) -> None:
    attempts = read(store, message=b"first")
    attempts.count += 1
    attempts.enter(2, "blur")
    attempts.give_up()
    other = read(store, message=b"second")
    assert (other.count, other.step, other.operation) == (2, 2, "blur")
    assert read(store, image=8).count == 1


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

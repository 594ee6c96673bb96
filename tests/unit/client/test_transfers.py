"""Work by a few threads: every item once, the first error for all, nothing taken after it."""

from __future__ import annotations

import threading

import pytest

from penstock.client.transfers import at_once


def test_every_item_is_worked_on_once():
    done: list[int] = []
    at_once(done.append, range(1_000), threads=4)
    assert sorted(done) == list(range(1_000))


def test_the_first_error_ends_it():
    taken: list[int] = []

    def work(number: int) -> None:
        taken.append(number)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        at_once(work, iter(range(100_000)), threads=2)
    assert len(taken) < 100_000


def test_an_error_of_the_list_itself_is_told_as_well():
    def items():
        yield 1
        raise OSError("the list broke off")

    with pytest.raises(OSError, match="broke off"):
        at_once(lambda item: None, items())


def test_as_many_as_there_are_threads_work_at_the_same_time():
    meeting = threading.Barrier(3, timeout=30)
    at_once(lambda item: meeting.wait(), range(3), threads=3)
    assert not meeting.broken

"""What is done behind: one thing at a time, and no error goes unheard."""

from __future__ import annotations

import threading

import pytest

from penstock.worker.finisher import Finisher


def test_the_next_thing_waits_for_the_last_and_closing_sees_it_to_its_end() -> None:
    behind, gate, done = Finisher(), threading.Event(), []
    behind.do(lambda: gate.wait(30) and done.append(1))
    with pytest.raises(TimeoutError):
        behind.wait(0.01)
    assert done == []
    gate.set()
    behind.do(lambda: done.append(2))
    assert done[0] == 1
    behind.close()
    assert done == [1, 2]


def test_what_was_raised_is_raised_for_whoever_comes_next() -> None:
    behind = Finisher()
    behind.do(lambda: {}["gone"])
    with pytest.raises(KeyError):
        behind.do(lambda: None)
    behind = Finisher()
    behind.do(lambda: {}["gone"])
    with pytest.raises(KeyError):
        behind.close()

"""JobEnds: who is told that a job has ended."""

from __future__ import annotations

from penstock.coordinator.ports.job_ends import JobEnds


def test_everyone_who_watches_a_job_is_told_of_its_end() -> None:
    ends, told = JobEnds(), []
    with ends.watch("a", lambda: told.append(1)), ends.watch("a", lambda: told.append(2)):
        ends.announce("b")
        assert told == []
        ends.announce("a")
    assert sorted(told) == [1, 2]


def test_whoever_comes_after_the_end_is_told_at_once() -> None:
    ends, told = JobEnds(), []
    ends.announce("a")
    with ends.watch("a", lambda: told.append(1)):
        assert told == [1]


def test_nobody_is_told_after_they_have_stopped_watching() -> None:
    ends, told = JobEnds(), []
    with ends.watch("a", lambda: told.append(1)):
        pass
    ends.announce("a")
    assert told == []


def test_ends_that_nobody_asks_for_are_forgotten_after_a_while() -> None:
    ends, told = JobEnds(), []
    for number in range(2_000):
        ends.announce(str(number))
    with ends.watch("0", lambda: told.append(1)):
        assert told == []
    with ends.watch("1999", lambda: told.append(1)):
        assert told == [1]

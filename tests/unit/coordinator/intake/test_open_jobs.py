"""Open jobs: let in up to the limit, with few looks into the database."""

from __future__ import annotations

from coordinator_fixture import ManualClock

from penstock.coordinator.intake.open_jobs import OpenJobs


def test_jobs_are_let_in_up_to_the_limit_with_one_look() -> None:
    looks: list[int] = []
    jobs = OpenJobs(lambda: looks.append(1) or 7, ManualClock())
    assert [jobs.admit(1, most=10) for _ in range(3)] == [True] * 3
    assert len(looks) == 1
    assert OpenJobs(lambda: 7, ManualClock()).admit(4, most=10) is False


def test_it_looks_again_before_it_refuses_and_when_the_count_is_old() -> None:
    clock, counts = ManualClock(), [9, 8, 10]
    jobs = OpenJobs(lambda: counts.pop(0), clock)
    assert jobs.admit(1, most=10)
    assert jobs.admit(1, most=10), "one has ended meanwhile"
    clock.advance(0.25)
    assert counts == [10]
    assert not jobs.admit(0, most=9)
    assert counts == []

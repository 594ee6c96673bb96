"""CancelledJobs: looks up each job once in a while, and remembers those that were cancelled."""

from __future__ import annotations

import pytest
from fake_clock import FakeClock

from penstock.worker.cancelled_jobs import CancelledJobs, JobCancelledError


def test_a_job_is_looked_up_once_in_a_while_and_stays_cancelled() -> None:
    clock, looked_up, cancelled = FakeClock(), [], {"c"}

    def look_up(job: str) -> bool:
        looked_up.append(job)
        return job in cancelled

    jobs = CancelledJobs(look_up, cache_secs=2.0, clock=clock)
    for job in ("a", "a", "b"):
        jobs.check(job)
    assert looked_up == ["a", "b"]
    cancelled.add("a")
    jobs.check("a")
    clock.now += 2.0
    with pytest.raises(JobCancelledError):
        jobs.check("a")
    cancelled.clear()
    clock.now += 100.0
    with pytest.raises(JobCancelledError):
        jobs.check("a")


def test_thousands_of_jobs_take_bounded_memory() -> None:
    jobs = CancelledJobs(lambda job: False, cache_secs=60.0)
    for number in range(5_000):
        jobs.check(str(number))
    assert len(jobs) <= 1_000

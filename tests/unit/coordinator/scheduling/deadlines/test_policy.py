"""Deadline policy: the fewest workers in time, others as before, start-up and look-ahead, forecasts, prices."""

from __future__ import annotations

import math
from typing import Any

import pytest

from penstock.coordinator.scheduling.deadlines.policy import (
    RESERVE,
    Claim,
    Pool,
    Work,
    count_workers,
    fastest_within,
    find_pressing,
    in_order,
    meet,
    options,
    run_with,
    urgency,
)

USABLE = 1 - RESERVE


def claim(job: str, images: int, secs: float, deadline_secs: float = math.inf, **fields: Any) -> Claim:
    """Return the claim of a job with one step."""
    work = {"blur": Work(images, images * secs, secs, tail_secs=secs)} if images else {}
    return Claim(job, work, deadline_secs=deadline_secs, **fields)


def wanted(*claims: Claim, **pool: Any) -> int:
    return count_workers("blur", Pool(**pool), claims)


@pytest.mark.parametrize(
    ("work_secs", "images", "workers"),
    [(0, 0, 0), (0.0001, 1, 1), (10, 100, 1), (10.1, 100, 2), (79, 100, 8), (1e6, 3, 3)],
)
def test_without_deadlines_each_worker_has_ten_seconds_of_work(work_secs: float, images: int, workers: int) -> None:
    assert wanted(claim("a", images, work_secs / max(1, images))) == workers


def test_a_deadline_takes_the_fewest_workers_that_finish_in_time() -> None:
    for deadline_secs in (200.0, 333.0, 800.0):
        found = wanted(claim("a", 1_000, 1.0, deadline_secs))
        within = deadline_secs * USABLE - 1.0
        assert 1_000 / found <= within < 1_000 / (found - 1)


def test_work_of_earlier_deadlines_goes_first() -> None:
    early, late = claim("early", 100, 1.0, 100.0), claim("late", 1_000, 1.0, 1_000.0)
    assert in_order([late, early]) == [early, late]
    alone = wanted(late)
    assert wanted(early) == 2
    assert wanted(late, early) == math.ceil(1_100 / (1_000 * USABLE - 1)) == alone
    assert wanted(claim("late", 1_000, 1.0, 150.0), early) == math.ceil(1_100 / (150 * USABLE - 1))


def test_jobs_without_a_deadline_keep_the_workers_that_they_would_have_alone() -> None:
    free, due = claim("free", 100, 1.0), claim("due", 1_000, 1.0, 1_000.0)
    assert wanted(free, due) == wanted(free) + wanted(due)


def test_work_of_a_higher_priority_counts_before_a_deadline() -> None:
    free, due = claim("free", 10_000, 1.0, priority=1), claim("due", 10, 1.0, 100.0)
    assert wanted(free, due) >= wanted(claim("free", 10_010, 1.0, 100.0))


def test_a_missed_deadline_counts_as_none() -> None:
    assert wanted(claim("a", 1_000, 1.0, -5.0)) == wanted(claim("a", 1_000, 1.0))
    assert [urgency(at, 10.0) for at in (None, 9.0, 11.0)] == [math.inf, math.inf, 11.0]


def test_new_workers_start_late_and_those_there_do_not() -> None:
    job = claim("a", 1_000, 1.0, 200.0)
    assert wanted(job, start_secs=40.0) == math.ceil(1_000 / (200 * USABLE - 1 - 40))
    assert wanted(job, start_secs=40.0, workers=6) == 6
    assert wanted(job, start_secs=40.0, workers=5) == 5 + math.ceil((1_000 - 5 * 179) / (179 - 40))


def test_workers_that_are_starting_are_not_wanted_again() -> None:
    """While 20 s of a start of 40 s pass, nothing changes but the time left."""
    job = claim("a", 1_000, 1.0, 100.0)
    first = wanted(job, start_secs=40.0)
    later = claim("a", 1_000, 1.0, 80.0)
    assert wanted(later, start_secs=40.0, starting=first, ready_secs=20.0) == first
    assert wanted(later, start_secs=40.0) > first * 1.5
    assert wanted(claim("a", 100, 1.0, 80.0), start_secs=40.0, starting=first, ready_secs=20.0) < first
    pools = {"blur": Pool(0, 100, 40.0, starting=first, ready_secs=20.0)}
    assert run_with({"blur": first}, later, [later], pools).secs == pytest.approx(20 + 999 / first + 1)


def test_a_deadline_that_no_new_worker_can_help_to_meet_does_not_ask_for_more_than_other_work() -> None:
    assert wanted(claim("a", 1_000, 1.0, 20.0), start_secs=60.0) == wanted(claim("a", 1_000, 1.0)) == 100


def test_a_later_step_is_scaled_when_its_workers_have_to_start_and_not_before() -> None:
    def at(lead_secs: float) -> int:
        work = Work(100, 100.0, 1.0, lead_secs=lead_secs, tail_secs=1.0)
        return wanted(Claim("a", {"blur": work}, deadline_secs=1_000.0), start_secs=60.0)

    assert [at(300.0), at(76.0), at(75.0), at(0.0)] == [0, 0, 1, 1]


def test_the_forecast_is_when_the_workers_have_done_all_work_before_and_the_job() -> None:
    early, late = claim("early", 100, 1.0, 100.0), claim("late", 100, 1.0, 1_000.0)
    pools = {"blur": Pool(workers=2, max_workers=2, price=3_600.0)}
    assert run_with({"blur": 2}, early, [late, early], pools).secs == pytest.approx(50.5)
    found = meet(late, [late, early], pools)
    assert (found.workers, found.secs) == ({"blur": 2}, pytest.approx(100.5))
    assert found.price == pytest.approx(2 * 100.5 / 2), "half of the work until then is its own"
    assert run_with({"blur": 1}, claim("one", 1, 4.0), [], pools).secs == pytest.approx(4.0)
    assert run_with({"blur": 0}, early, [early], {"blur": Pool()}).secs == math.inf


def test_the_forecast_includes_the_start_of_workers() -> None:
    job, pools = claim("a", 100, 1.0, 100.0), {"blur": Pool(workers=1, max_workers=9, start_secs=30.0)}
    found = meet(job, [job], pools)
    assert found.secs == pytest.approx(30.0 + 70.0 / found.workers["blur"] + 1.0 - 1 / found.workers["blur"])
    assert found.secs <= 100.0


def test_the_forecast_with_the_workers_wanted_meets_each_deadline() -> None:
    for images in (1, 7, 100, 5_000):
        for secs in (0.01, 1.0, 5.0):
            for deadline_secs in (40.0, 100.0, 3_600.0):
                job = claim("a", images, secs, deadline_secs)
                found = meet(job, [job], {"blur": Pool(0, 10**6, 30.0)})
                assert found.secs <= deadline_secs


def test_a_higher_price_buys_an_earlier_end() -> None:
    """Every worker costs its start-up."""
    job, pools = claim("a", 1_000, 1.0), {"blur": Pool(0, 100, 30.0, price=3_600.0)}
    ways = options(job, [job], pools)
    ends = [way.secs for price in (1_040.0, 1_500.0, 3_000.0) if (way := fastest_within(price, ways)) is not None]
    assert len(ends) == 3
    assert ends == sorted(ends, reverse=True)
    assert fastest_within(900.0, ways) is None
    assert ways[0].secs == min(way.secs for way in ways)


def test_a_price_bounds_the_workers_of_a_job_without_a_deadline() -> None:
    assert wanted(claim("a", 1_000, 1.0, max_workers={"blur": 3})) == 3


def test_a_deadline_is_pressing_once_its_work_takes_a_good_part_of_the_time_left() -> None:
    """Of two workers and 1,000 s, of which a tenth is kept in reserve, two fifths are 720 s of work."""
    pools = {"blur": Pool(workers=2)}

    def due(job: str, secs: float, deadline_secs: float) -> Claim:
        return Claim(job, {"blur": Work(10, secs, 0.0)}, deadline_secs=deadline_secs)

    free = Claim("free", {"blur": Work(10, 5_000.0, 0.0)})
    assert find_pressing([free, due("far", 710.0, 1_000.0)], pools) == set()
    assert find_pressing([free, due("near", 730.0, 1_000.0)], pools) == {"near"}
    early, late = due("early", 400.0, 1_000.0), due("late", 1_500.0, 2_000.0)
    assert find_pressing([late, free, early], pools) == {"early", "late"}, "late presses, and early goes before it"
    starting = {"blur": Pool(workers=2, start_secs=20.0)}
    assert find_pressing([free, due("far", 710.0, 1_000.0)], starting) == {"far"}, "16 s of work less can be done"
    assert find_pressing([due("far", 1.0, 1_000.0)], {"blur": Pool()}) == {"far"}, "there are no workers"
    assert find_pressing([due("missed", 1.0, -1.0)], pools) == set()

"""Simulation: over a thousand mixes of jobs, the policy meets more deadlines than simpler ones with as many workers."""

from __future__ import annotations

from statistics import fmean

from scripts_loader import load_script

simulation = load_script("simulate_deadlines")


def test_the_policy_meets_more_deadlines_than_simpler_ones() -> None:
    found = simulation.compare(1_000)
    policy, always_first, *simpler = (found[name] for name in simulation.POLICIES)
    assert [*found][2:] == ["earliest deadline first", "fair share", "first come, first served"]
    met = [policy.met, *(each.met for each in simpler)]
    assert met == sorted({*met}, reverse=True)
    assert policy.met > 0.97 * policy.total, (
        "the others are tighter than the time in which workers start and the simulation looks"
    )
    assert policy.met >= always_first.met - 0.002 * policy.total
    assert fmean(policy.other_secs) < 0.9 * fmean(always_first.other_secs), "jobs without a deadline wait less"
    assert simulation.compare(5) == simulation.compare(5)

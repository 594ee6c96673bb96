#!/usr/bin/env python3
"""Simulation of deadlines: how many are met by the policy of the coordinator, and by simpler ones.

Random mixes of jobs arrive at two steps in a row. The policy is the coordinator's own code: the order of jobs and the
workers wanted at each moment, which start late. The others have a fixed number of workers: as many as the policy had in
that mix on average, rounded up, so that none of them is cheaper.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import click

from penstock.coordinator.scheduling.deadlines.policy import (
    Claim,
    Pool,
    Work,
    count_workers,
    find_pressing,
    in_order,
)

POLICIES = ("deadlines", "deadlines, always first", "earliest deadline first", "fair share", "first come, first served")
SCALED = POLICIES[:2]
"""Those with workers as wanted."""
STEPS = ("resize", "blur")
TICK_SECS = 10.0
START_SECS = 40.0
KEEP_SECS = 120.0
"""For how long fewer workers must be enough before some are removed."""
MAX_WORKERS = 100
_MAX_TICKS = 20_000


@dataclass
class SimulatedJob:
    """A job, and how many of its images each step has done, in fractions."""

    name: str
    arrives_at: float
    images: int
    secs: tuple[float, float]
    deadline: float
    """Infinite without one."""
    done: list[float] = field(default_factory=lambda: [0.0, 0.0])
    ended_at: float = math.inf

    def waiting(self, step: int) -> float:
        """Return the images that a step could work on."""
        return (self.images if step == 0 else self.done[0]) - self.done[step]

    def claim(self, now: float) -> Claim:
        """Return it as the policy sees it."""
        work = {}
        for step, name in enumerate(STEPS):
            left = self.images - self.done[step]
            if left > 1e-6:
                lead = 0.0 if step == 0 or self.done[0] > 0 else self.secs[0]
                secs = self.secs[step]
                work[name] = Work(math.ceil(left - 1e-6), left * secs, secs, lead, sum(self.secs[step:]))
        return Claim(self.name, work, deadline_secs=self.deadline - now)


def make_mix(seed: int) -> list[SimulatedJob]:
    """Return jobs that arrive within a quarter of an hour; two thirds of them have deadlines, tight or loose ones."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    jobs = []
    for number in range(rng.randint(4, 12)):
        arrives_at = rng.uniform(0, 900)
        images = int(10 ** rng.uniform(1, 3.3))
        secs = (rng.uniform(0.02, 0.3), 10 ** rng.uniform(-1, 0.7))
        workers = rng.uniform(1, 20)
        within = 2 * START_SECS + 2 * sum(secs) + images * max(secs) / workers
        deadline = arrives_at + within if rng.random() < 2 / 3 else math.inf
        jobs.append(SimulatedJob(f"{number}", arrives_at, images, secs, deadline))
    return jobs


class Workers:
    """The workers of one step: those that are ready, and those that start."""

    def __init__(self, fixed: int | None) -> None:
        self.fixed = fixed
        self.ready = fixed or 0
        self._starting: deque[float] = deque()
        self._wanted: deque[tuple[float, int]] = deque()
        self.paid_secs = 0.0

    def pool(self, now: float) -> Pool:
        """Return them as the policy sees them."""
        ready_secs = self._starting[-1] - now if self._starting else 0.0
        return Pool(self.ready, MAX_WORKERS, START_SECS, starting=len(self._starting), ready_secs=ready_secs)

    def scale(self, now: float, wanted: int) -> None:
        """Start what is missing; remove what has not been needed for a while."""
        while self._starting and self._starting[0] <= now:
            self._starting.popleft()
            self.ready += 1
        if self.fixed is None:
            self._wanted.append((now, min(wanted, MAX_WORKERS)))
            while self._wanted[0][0] < now - KEEP_SECS:
                self._wanted.popleft()
            target = max(number for _, number in self._wanted)
            self._starting.extend([now + START_SECS] * max(0, target - self.ready - len(self._starting)))
            self.ready = max(0, min(self.ready, target))
        self.paid_secs += (self.ready + len(self._starting)) * TICK_SECS


def simulate(policy: str, jobs: Sequence[SimulatedJob], fixed: Sequence[int] | None = None) -> list[float]:
    """Run jobs until all have ended; return the mean number of workers of each step."""
    workers = [Workers(None if fixed is None else fixed[step]) for step in range(len(STEPS))]
    for tick in range(_MAX_TICKS):
        now = tick * TICK_SECS
        open_jobs = [job for job in jobs if job.arrives_at <= now and job.ended_at == math.inf]
        if not open_jobs and all(job.ended_at < math.inf for job in jobs):
            return [each.paid_secs / max(TICK_SECS, now) for each in workers]
        claims = [job.claim(now) for job in open_jobs]
        pools = {name: workers[step].pool(now) for step, name in enumerate(STEPS)}
        for step, (name, pool) in enumerate(pools.items()):
            workers[step].scale(now, count_workers(name, pool, claims) if fixed is None else 0)
        groups = list(_order(policy, open_jobs, claims, pools))
        for step in reversed(range(len(STEPS))):  # an image passes one step in a tick
            _work(step, workers[step].ready, groups)
        for job in open_jobs:
            if job.images - job.done[-1] < 1e-6:
                job.ended_at = now + TICK_SECS
    raise RuntimeError(f"jobs have not ended after {_MAX_TICKS} ticks")


def _order(
    policy: str, jobs: Sequence[SimulatedJob], claims: Sequence[Claim], pools: Mapping[str, Pool]
) -> Iterator[list[SimulatedJob]]:
    """Yield jobs, those together that share the workers which the ones before leave."""
    if policy == "fair share":
        yield list(jobs)
    elif policy == "first come, first served":
        yield from ([job] for job in sorted(jobs, key=lambda job: job.arrives_at))
    else:
        by_name = {job.name: job for job in jobs}
        due = [claim.job for claim in in_order(claims) if claim.is_due]
        pressing = find_pressing(claims, pools)
        first = [job for job in due if job in pressing] if policy == POLICIES[0] else due
        yield from ([by_name[job]] for job in first)
        yield [job for job in jobs if job.name not in first]


def _work(step: int, workers: float, groups: Sequence[Sequence[SimulatedJob]]) -> None:
    """Divide the workers of a step; no job has more of them than images that wait."""
    for group in groups:
        needy = [job for job in group if job.waiting(step) > 1e-9]
        needy.sort(key=lambda job: min(job.waiting(step), _most(job, step)))
        for index, job in enumerate(needy):
            used = min(workers / (len(needy) - index), _most(job, step))
            job.done[step] += used * TICK_SECS / job.secs[step]
            workers -= used


def _most(job: SimulatedJob, step: int) -> float:
    """Return the workers that a job can use: one for each image, and no more than finish it in this tick."""
    waiting = job.waiting(step)
    return min(math.ceil(waiting), waiting * job.secs[step] / TICK_SECS)


@dataclass
class Outcome:
    """What a policy did: deadlines met, of how many, and seconds from arrival to end of jobs without one."""

    met: int = 0
    total: int = 0
    other_secs: list[float] = field(default_factory=list)

    def add(self, jobs: Sequence[SimulatedJob]) -> None:
        """Count the jobs of a mix."""
        due = [job for job in jobs if job.deadline < math.inf]
        self.met += sum(job.ended_at <= job.deadline for job in due)
        self.total += len(due)
        self.other_secs += [job.ended_at - job.arrives_at for job in jobs if job.deadline == math.inf]


def compare(mixes: int, first_seed: int = 0, show: Callable[[int], object] = lambda _: None) -> dict[str, Outcome]:
    """Return what each policy did."""
    outcomes = {policy: Outcome() for policy in POLICIES}
    for seed in range(first_seed, first_seed + mixes):
        fixed: list[int] = []
        for policy, outcome in outcomes.items():
            jobs = make_mix(seed)
            mean = simulate(policy, jobs, None if policy in SCALED else fixed)
            fixed = fixed or [max(1, math.ceil(count)) for count in mean]
            outcome.add(jobs)
        show(seed)
    return outcomes


@click.command()
@click.option("--mixes", type=click.IntRange(min=1), default=1_000, show_default=True, help="Number of job mixes.")
def main(mixes: int) -> None:
    """Print the share of deadlines that each policy meets, and how long other jobs take."""
    print("| policy | workers | deadlines met | others take, s |\n| --- | --- | --- | --- |")
    outcomes = compare(mixes)
    for policy, outcome in outcomes.items():
        workers = "as wanted" if policy in SCALED else "the same on average, fixed"
        print(f"| {policy} | {workers} | {outcome.met / outcome.total:.1%} | {fmean(outcome.other_secs):.0f} |")
    print(f"\n{mixes:,} mixes, {outcomes[POLICIES[0]].total:,} deadlines")


if __name__ == "__main__":
    main()

"""Claims: open jobs and workers as the deadline policy sees them, and what it answers about steps and jobs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from penstock.coordinator.ports.repository import Job
from penstock.coordinator.ports.scheduler import JobProgress, Outlook, StepStatus
from penstock.coordinator.scheduling.advice import FindReplicas, make_pools
from penstock.coordinator.scheduling.backlog import MIN_SECS, UNMEASURED_SECS, Visit, remaining_visits
from penstock.coordinator.scheduling.deadlines.policy import (
    SECS_PER_WORKER,
    Claim,
    Option,
    Pool,
    Work,
    count_workers,
    fastest_within,
    find_pressing,
    meet,
    options,
    run_with,
)
from penstock.coordinator.scheduling.snapshot import Snapshot

START_SECS = 30.0
"""Assumed time until a new replica works, before any has been measured."""
_MOST = 1e9
"""Thirty years, in seconds."""
EVERY_STEP = "*"
"""The key of the price of workers whose step has none of its own."""


@dataclass
class Claims:
    """Open jobs at one moment. `prices` are those of a worker for an hour, by step; `now` is since the epoch."""

    jobs: Sequence[Job]
    snapshot: Snapshot
    count_workers: Callable[[str], int]
    find_replicas: FindReplicas
    prices: Mapping[str, float] = field(default_factory=dict)
    now: float = 0.0

    def wanted_by_step(self, steps: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return how many workers each step wants, and how many for deadlines alone; steps may share them."""
        groups = self.group([*steps, *(step for job in self.jobs for step in job.plan.steps)])
        pools, claims = self._read({step: group[0] for group in groups for step in group})
        found = {
            name: (count_workers(name, pool, claims), count_workers(name, pool, claims, math.inf))
            for name, pool in pools.items()
        }
        return {step: found[group[0]] for group in groups for step in group}

    def wanted_workers(self, steps: Sequence[str], secs_per_worker: float = SECS_PER_WORKER) -> int:
        """Return how many workers are wanted that serve all of some steps; see `policy.count_workers`."""
        names = {step: step for job in self.jobs for step in job.plan.steps} | dict.fromkeys(steps, steps[0])
        pools, claims = self._read(names)
        pool = pools.get(steps[0]) or self._make_pool(steps)
        return count_workers(steps[0], pool, claims, secs_per_worker)

    def pressing_jobs(self) -> set[str]:
        """Return the jobs that go before others; see `policy.find_pressing`."""
        groups = self.group(step for job in self.jobs for step in job.plan.steps)
        pools, claims = self._read({step: group[0] for group in groups for step in group})
        return find_pressing(claims, pools)

    def group(self, steps: Iterable[str]) -> list[tuple[str, ...]]:
        """Return the steps that the same workers serve, together."""
        statuses = [
            StepStatus(step, 0, 0, 0, 0, shared_with=tuple(sorted(self.snapshot.shared_with(step))))
            for step in dict.fromkeys(steps)
        ]
        return [pool.steps for pool in make_pools(statuses, self.find_replicas)]

    def outlook(self, job: Job, shared_secs: float | None = None) -> Outlook | None:
        """Return when an open or a new job with a deadline or a highest price will end; None without either.

        `shared_secs` is how long it would take with its share of the workers, which is all that it has until its
        deadline is pressing; None if that is not known.
        """
        if job.deadline is None and job.max_price is None:
            return None
        others = [each for each in self.jobs if each.id != job.id]
        groups = self.group(step for each in [*others, job] for step in each.plan.steps)
        names = {step: group[0] for group in groups for step in group}
        pools, claims = replace(self, jobs=[*others, job])._read(names)
        claim = claims[-1]
        is_pressing = claim.job in find_pressing(claims, pools)
        pools = {name: pools[name] for name in claim.work}
        visits = remaining_visits(job, self.snapshot)
        if any(images and secs is None for _, images, secs in visits):
            return Outlook()
        ways = options(claim, claims, pools)
        left = self._left_of_price(job)
        chosen = _choose(claim, claims, pools, ways, left)
        present = {name: max(count, pools[name].workers) for name, count in chosen.workers.items()}
        secs = run_with(present, claim, claims, pools).secs
        if claim.is_due and not is_pressing and shared_secs is not None:
            secs = max(secs, min(shared_secs, claim.deadline_secs))
        timely = [way for way in ways if way.secs <= claim.deadline_secs] or ways[:1]
        price = chosen.price if self.prices else None
        affordable = None if left is None else fastest_within(left, ways)
        return Outlook(
            secs=_known(secs),
            is_feasible=secs <= claim.deadline_secs and (price or 0.0) <= (math.inf if left is None else left),
            replicas={
                step: self._count_replicas(step, chosen.workers[names[step]])
                for step in dict.fromkeys(job.plan.steps)
                if names[step] in chosen.workers
            },
            price=_known(price),
            least_secs=_known(ways[0].secs),
            least_price=_known(min(way.price for way in [*timely, chosen])) if self.prices else None,
            affordable_secs=None if affordable is None else _known(affordable.secs),
        )

    def _left_of_price(self, job: Job) -> float | None:
        """Return how much of a job's highest price its images that have not ended may cost."""
        left = job.pending + job.queued + job.running
        return None if job.max_price is None else job.max_price * left / max(1, job.total)

    def _read(self, names: Mapping[str, str]) -> tuple[dict[str, Pool], list[Claim]]:
        """Return the pools by name, and the jobs' claims in their order; `names` has the pool of each step."""
        members: dict[str, list[str]] = {}
        for step, name in names.items():
            members.setdefault(name, []).append(step)
        pools = {name: self._make_pool(steps) for name, steps in members.items()}
        claims = [self._make_claim(job, pools, names) for job in self.jobs]
        capped = {
            job.id: self._cap(claim, claims, pools, job)
            for job, claim in zip(self.jobs, claims, strict=True)
            if job.max_price is not None and not claim.is_due
        }
        return pools, [replace(claim, max_workers=capped.get(claim.job)) for claim in claims]

    def _cap(self, claim: Claim, claims: Sequence[Claim], pools: Mapping[str, Pool], job: Job) -> Mapping[str, int]:
        used = {name: pools[name] for name in claim.work}
        way = fastest_within(self._left_of_price(job) or 0.0, options(claim, claims, used))
        return dict.fromkeys(used, 1) if way is None else way.workers

    def _make_claim(self, job: Job, pools: Mapping[str, Pool], names: Mapping[str, str]) -> Claim:
        visits = list(remaining_visits(job, self.snapshot))
        work = {name: _find_work(name, job, visits, self.snapshot.job(job.id), pools, names) for name in pools}
        deadline_secs = math.inf if job.deadline is None else job.deadline - self.now
        return Claim(job.id, {name: each for name, each in work.items() if each.images}, job.priority, deadline_secs)

    def _make_pool(self, steps: Sequence[str]) -> Pool:
        """Return the workers that serve some steps together. Without an autoscaler, there are no more than now."""
        workers = max(map(self.count_workers, steps))
        found = self.find_replicas(steps[0])
        price = max(self.prices.get(step, self.prices.get(EVERY_STEP, 0.0)) for step in steps)
        if found is None or found.max_workers is None:
            return Pool(workers, workers, 0.0, price)
        start_secs = START_SECS if found.start_secs is None else found.start_secs
        starting = max(0, found.desired - found.ready) * found.workers_each
        return Pool(workers, found.max_workers, start_secs, price, starting, max(0.0, start_secs - found.starting_secs))

    def _count_replicas(self, step: str, workers: int) -> int:
        """Return the replicas that have a number of a step's workers."""
        found = self.find_replicas(step)
        return workers if found is None else math.ceil(workers / found.workers_each)


def _choose(
    claim: Claim, claims: Sequence[Claim], pools: Mapping[str, Pool], ways: Sequence[Option], price: float | None
) -> Option:
    """Return how a job is run: in time, else within its price, else with the workers that there are."""
    if claim.is_due:
        found = meet(claim, claims, pools)
        timely = [way for way in [found, *ways] if way.secs <= claim.deadline_secs and way.price <= (price or math.inf)]
        return found if found in timely else min(timely, key=lambda way: way.price, default=found)
    if price is not None:
        return fastest_within(price, ways) or min(ways, key=lambda way: way.price)
    return run_with({name: pool.workers for name, pool in pools.items()}, claim, claims, pools)


def _find_work(
    name: str,
    job: Job,
    visits: Sequence[Visit],
    progress: JobProgress,
    pools: Mapping[str, Pool],
    names: Mapping[str, str],
) -> Work:
    """Return what a job leaves to do for a pool."""
    secs = [max(MIN_SECS, UNMEASURED_SECS if each is None else each) for _, _, each in visits]
    own = [index for index, (step, images, _) in enumerate(visits) if names[step] == name and images]
    if not own:
        return Work(0, 0.0, 0.0)
    return Work(
        images=max(visits[index][1] for index in own),
        secs=sum(visits[index][1] * secs[index] for index in own),
        image_secs=sum(secs[index] for index in own),
        lead_secs=_lead_secs(own[0], job, [names[step] for step, _, _ in visits], secs, progress, pools),
        tail_secs=sum(secs[own[0] :]),
    )


def _lead_secs(
    first: int, job: Job, names: Sequence[str], secs: Sequence[float], progress: JobProgress, pools: Mapping[str, Pool]
) -> float:
    """Return when the first image of a job arrives at an operation of its plan; 0 if one is there or past it."""
    occupied = [index for index, (waiting, running) in enumerate(progress.positions) if waiting or running]
    furthest = max(occupied, default=0)
    if furthest >= first or job.done:
        return 0.0
    chunks, elapsed_secs = progress.running[furthest] if progress.running else (0, 0.0)
    left_secs = (job.chunk_size or 1) * sum(secs[furthest:first]) - (elapsed_secs / chunks if chunks else 0.0)
    starts = [pools[name].start_secs for name in names[furthest:first] if not pools[name].workers]
    return max(0.0, left_secs) + max(starts, default=0.0)


def _known(value: float | None) -> float | None:
    """Return a number of seconds or a price; None if it is not known, or beyond any use."""
    return None if value is None or value > _MOST else value

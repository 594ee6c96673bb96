"""Deadline policy: which job goes first, how many workers each pool needs for all deadlines, and when a job will end.

Pure functions. Jobs share workers until a deadline is pressing; then they go by priority, and by deadline: earliest
deadline first (EDF). A pool meets a deadline if its workers finish, by then, the work of that job and of all before it.
Pools are workers of one step, or of several steps that the same workers serve. Times are seconds from now.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

RESERVE = 0.1
"""Share of the time until a deadline that is kept in reserve."""
PRESSING = 0.4
"""Share of the time until a deadline, less the reserve, that its work may take before it is pressing."""
SECS_PER_WORKER = 10.0
"""Work for which one worker is wanted, in seconds, where no deadline says how many are."""
LOOK_AHEAD_SECS = 15.0
"""How much earlier than necessary workers are wanted: autoscalers look every few seconds."""
_OPTIONS = 60
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Work:
    """What a job leaves to do for one pool."""

    images: int
    secs: float
    """Seconds of one worker for all of them."""
    image_secs: float
    """Seconds of one image in this pool."""
    lead_secs: float = 0.0
    """Until the first image arrives."""
    tail_secs: float = 0.0
    """From the start of an image in this pool until its results are written."""


@dataclass(frozen=True)
class Claim:
    """An open job, and its work by pool."""

    job: str
    work: Mapping[str, Work]
    priority: int = 0
    deadline_secs: float = math.inf
    """Infinite without a deadline."""
    max_workers: Mapping[str, int] | None = None
    """By pool, the workers that its price allows; None: any number."""

    @property
    def is_due(self) -> bool:
        """Whether it has a deadline that has not passed. A job that has missed it has no precedence any more."""
        return 0 < self.deadline_secs < math.inf


@dataclass(frozen=True)
class Pool:
    """Workers: now, at most, how long one takes to start, and what it costs an hour. Some may be starting already."""

    workers: int = 0
    max_workers: int = 0
    start_secs: float = 0.0
    price: float = 0.0
    starting: int = 0
    ready_secs: float = 0.0
    """Until those that are starting work."""


@dataclass(frozen=True)
class Option:
    """One way to run a job: workers by pool, seconds until it ends, and its price."""

    workers: Mapping[str, int]
    secs: float
    price: float


def urgency(deadline: float | None, now: float) -> float:
    """Return a key that sorts jobs of one priority: the earlier a deadline, the smaller; infinite without one to meet.

    Times are seconds since the epoch.
    """
    return math.inf if deadline is None or deadline <= now else deadline


def in_order(claims: Iterable[Claim]) -> list[Claim]:
    """Return claims in the order in which their images are dispatched."""
    return sorted(claims, key=lambda claim: (-claim.priority, claim.deadline_secs if claim.is_due else math.inf))


def find_pressing(claims: Iterable[Claim], pools: Mapping[str, Pool]) -> set[str]:
    """Return the jobs that go before others: those whose deadline is pressing, and those with an earlier one.

    It is pressing when the present workers of a pool would need a good part of the time left (`PRESSING`) for the work
    until then. The time in which workers start does not count as left: those that are present may soon be gone.
    """
    due = [claim for claim in in_order(claims) if claim.is_due]
    pressing = 0
    for name, pool in pools.items():
        secs = 0.0
        for count, claim in enumerate(due, 1):
            if work := claim.work.get(name):
                secs += work.secs
                left_secs = _less_reserve(claim.deadline_secs) - work.lead_secs - work.tail_secs - pool.start_secs
                if secs >= PRESSING * pool.workers * left_secs:
                    pressing = max(pressing, count)
    return {claim.job for claim in due[:pressing]}


def count_workers(name: str, pool: Pool, claims: Iterable[Claim], secs_per_worker: float = SECS_PER_WORKER) -> int:
    """Return the smallest number of a pool's workers that meets every deadline, besides the work of other jobs.

    Jobs without a deadline get one worker for each `secs_per_worker` of their work, never more than images: as many as
    if there were no others. Jobs that go before a deadline's are counted with it if that takes more. Work of a deadline
    counts as soon as workers have to start for its first image.
    """
    before_all = before_due = _Sum()
    free, capped, for_all, for_due = _Sum(), 0, 0, 0
    for claim in in_order(claims):
        work = claim.work.get(name)
        if work is None or not work.images:
            continue
        if not claim.is_due:
            before_all = before_all.add(work)
            if claim.max_workers is None:
                free = free.add(work)
            else:
                wanted = min(_ceil(work.secs / secs_per_worker), work.images)
                capped += min(wanted, claim.max_workers.get(name, wanted))
        elif work.lead_secs <= pool.start_secs + LOOK_AHEAD_SECS:
            before_all, before_due = before_all.add(work), before_due.add(work)
            for_all = max(for_all, _workers_for(before_all, work, claim.deadline_secs, pool, secs_per_worker))
            for_due = max(for_due, _workers_for(before_due, work, claim.deadline_secs, pool, secs_per_worker))
    others = min(_ceil(free.secs / secs_per_worker), free.images) + capped
    return max(for_all, for_due + others)


def meet(claim: Claim, claims: Sequence[Claim], pools: Mapping[str, Pool]) -> Option:
    """Return the fewest workers that meet a job's deadline, as far as pools can have them, and when it ends then.

    A pool that cannot grow uses the workers that it has. The price is that of its share of them until its end.
    """
    ahead = _ahead(claim, claims)
    workers = {}
    for name, work in claim.work.items():
        pool = pools[name]
        total = _sum_up(name, [*ahead, claim])
        wanted = _workers_for(total, work, claim.deadline_secs, pool, SECS_PER_WORKER)
        least = pool.workers if pool.max_workers <= pool.workers else 1
        workers[name] = min(max(wanted, least), max(pool.max_workers, pool.workers))
    return run_with(workers, claim, claims, pools)


def run_with(workers: Mapping[str, int], claim: Claim, claims: Sequence[Claim], pools: Mapping[str, Pool]) -> Option:
    """Return when a job ends, and its price, if pools have these workers; infinite if one has none."""
    ahead = _ahead(claim, claims)
    end, shares = 0.0, []
    for name, work in claim.work.items():
        total = _sum_up(name, [*ahead, claim])
        pool, busy = pools[name], min(workers[name], total.images)
        start_secs = pool.ready_secs if busy <= pool.workers + pool.starting else pool.start_secs
        finish = _finish_secs(total.secs, work.lead_secs, min(busy, pool.workers), busy, start_secs)
        # The last image starts, at the latest, when all workers would be done without it.
        end = max(end, finish + work.tail_secs - (work.image_secs / busy if busy else 0.0))
        shares.append(busy * pool.price * (work.secs / total.secs if total.secs else 1.0))
    return Option(workers, end, math.inf if end == math.inf else sum(shares) * end / 3_600)


def options(claim: Claim, claims: Sequence[Claim], pools: Mapping[str, Pool]) -> list[Option]:
    """Return ways to run a job, from as fast as its pools can be to one worker of each."""
    most = {name: max(pool.max_workers, pool.workers) for name, pool in pools.items()}
    fastest = run_with(most, claim, claims, pools)
    slowest = run_with({name: min(1, most[name]) for name in most}, claim, claims, pools)
    if not 0 < fastest.secs <= slowest.secs < math.inf:
        return [fastest]
    ratio = (slowest.secs / fastest.secs) ** (1 / _OPTIONS)
    goals = (fastest.secs * ratio**index / (1 - RESERVE) for index in range(_OPTIONS + 1))
    between = (meet(replace(claim, deadline_secs=goal), claims, pools) for goal in goals)
    return [fastest, *between, slowest]


def fastest_within(max_price: float, found: Iterable[Option]) -> Option | None:
    """Return the option that ends first among those that cost no more than `max_price`; None if there is none."""
    return min((each for each in found if each.price <= max_price), key=lambda each: each.secs, default=None)


def _ahead(claim: Claim, claims: Sequence[Claim]) -> list[Claim]:
    """Return the jobs that go before one, without those that share with it."""
    others = [each for each in claims if each.job != claim.job]
    before = list(takewhile(lambda each: each.job != claim.job, in_order([claim, *others])))
    if claim.is_due:
        return before
    return [each for each in before if each.is_due or each.priority > claim.priority]


@dataclass(frozen=True)
class _Sum:
    """Work of several jobs in one pool."""

    images: int = 0
    secs: float = 0.0

    def add(self, work: Work) -> "_Sum":
        return _Sum(self.images + work.images, self.secs + work.secs)


def _sum_up(name: str, claims: Iterable[Claim]) -> _Sum:
    """Return the work of some jobs in a pool together."""
    work = [claim.work[name] for claim in claims if name in claim.work]
    return _Sum(sum(each.images for each in work), sum(each.secs for each in work))


def _workers_for(total: _Sum, last: Work, deadline_secs: float, pool: Pool, secs_per_worker: float) -> int:
    """Return the workers that finish `total`, of which `last` comes last, by a deadline less the reserve.

    If it cannot be met, they finish it within `secs_per_worker`.
    """
    kept = [secs - last.tail_secs for secs in (_less_reserve(deadline_secs), deadline_secs)]
    present_secs = max(0.0, kept[0] - last.lead_secs)
    if total.secs <= pool.workers * present_secs:
        return max(1, min(total.images, _ceil(total.secs / present_secs))) if present_secs else 1
    left_secs = total.secs - pool.workers * present_secs
    soon_secs = max(0.0, kept[0] - max(last.lead_secs, pool.ready_secs))
    if left_secs <= pool.starting * soon_secs:
        return min(total.images, pool.workers + _ceil(left_secs / soon_secs))
    there = pool.workers + pool.starting
    starts_at = max(last.lead_secs, pool.start_secs)
    added_secs = next((secs - starts_at for secs in kept if secs > starts_at), None)
    if added_secs is None:
        return min(total.images, max(there, _ceil(total.secs / secs_per_worker)))
    return min(total.images, there + _ceil((left_secs - pool.starting * soon_secs) / added_secs))


def _finish_secs(secs: float, lead_secs: float, present: int, workers: int, start_secs: float) -> float:
    """Return when work is done by workers that are present when it arrives, and others that have to start first."""
    starts_at = max(lead_secs, start_secs) if workers > present else lead_secs
    early = present * (starts_at - lead_secs)
    if present and secs <= early:
        return lead_secs + secs / present
    return starts_at + (secs - early) / workers if workers else math.inf


def _less_reserve(deadline_secs: float) -> float:
    """Return by when work should be done; for the last half minute, half of the time left is kept in reserve."""
    return deadline_secs - max(RESERVE * deadline_secs, min(LOOK_AHEAD_SECS, deadline_secs / 2))


def _ceil(value: float) -> int:
    return math.ceil(value - _ROUNDING)

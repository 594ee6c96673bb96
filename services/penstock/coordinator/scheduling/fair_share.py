"""Fair share: divides dispatch between owners by the weights of their keys, and between an owner's jobs by theirs.

Queues are first in, first out, so a job with twice as many images in a queue is served twice as fast: shares are set by
how many images each job may have in flight. Only jobs that wait for the same workers share. Jobs that wait for others
take nothing from each other and have full windows; so have equal jobs of an owner that nobody competes with.

Of the jobs that wait for the same workers, only those with the earliest pressing deadline have a share, until all their
images are dispatched; the others have theirs afterwards.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.coordinator.ports.repository import Job
from penstock.coordinator.scheduling.in_flight import InFlight, Steps

_REFRESH_SECS = 0.5
"""How long the bottlenecks found last are used: to find them, all images in flight are counted."""


class FairShare:
    """Divides windows between competing jobs. Owners without an entry in `weights` have 1."""

    def __init__(self, in_flight: InFlight, weights: Mapping[str, int], refresh_secs: float = _REFRESH_SECS) -> None:
        self._in_flight = in_flight
        self._weights = weights
        self._refresh_secs = refresh_secs
        self._refreshed_at = 0.0
        self._bottlenecks: dict[Steps, str] = {}
        """By a plan's steps, the one that its images waited for when any were last seen in flight."""
        self._pools: dict[str, str] = {}
        """By step, a name that all steps share which the same workers serve."""

    def allocate(
        self, windows: Sequence[tuple[Job, int]], urgencies: Mapping[str, float] | None = None
    ) -> dict[str, "Allowance"]:
        """Return each job's allowance; jobs come with the windows they would have if they were alone.

        Jobs with a smaller urgency go first; it is infinite for jobs that are not given.
        """
        urgencies = defaultdict(lambda: math.inf, urgencies or {})
        allowances = {job.id: Allowance(window, self._in_flight.count(job.id)) for job, window in windows}
        if len({(job.owner, job.weight, urgencies[job.id]) for job, _ in windows}) > 1:
            self._refresh_bottlenecks({job.plan.steps for job, _ in windows})
            first = self._hold_later_deadlines(allowances, [job for job, _ in windows], urgencies)
            self._divide(allowances, first)
        return allowances

    def _hold_later_deadlines(
        self, allowances: Mapping[str, "Allowance"], jobs: Sequence[Job], urgencies: Mapping[str, float]
    ) -> list[Job]:
        """Leave nothing to jobs of which others in the same pool have an earlier deadline; return those others."""
        due = [(job, self._pool(job.plan.steps), urgencies[job.id]) for job in jobs]
        earliest: dict[str, float] = {}
        for _, pool, at in due:
            earliest[pool] = min(earliest.get(pool, math.inf), at)
        first = []
        for job, pool, at in due:
            if at == earliest[pool]:
                first.append(job)
            else:
                allowances[job.id].limit = 0
        return first

    def _divide(self, allowances: Mapping[str, "Allowance"], jobs: Sequence[Job]) -> None:
        pools: dict[str, dict[str, list[Job]]] = {}
        for job in jobs:
            pools.setdefault(self._pool(job.plan.steps), {}).setdefault(job.owner, []).append(job)
        in_flight = self._count_in_flight() if any(len(owners) > 1 for owners in pools.values()) else Counter()
        for pool, owners in pools.items():
            max_owner_weight = max(map(self._weight, owners))
            for owner, owned in owners.items():
                window = max(allowances[job.id].limit for job in owned)
                limit = _share(window, self._weight(owner), max_owner_weight)
                shared = Allowance(limit, in_flight[owner, pool]) if len(owners) > 1 else None
                max_job_weight = max(job.weight for job in owned)
                for job in owned:
                    allowance = allowances[job.id]
                    allowance.limit = _share(allowance.limit, job.weight, max_job_weight)
                    allowance.owner = shared

    def _refresh_bottlenecks(self, plans: set[Steps]) -> None:
        """Find where images wait, if the last time is long enough ago, and forget plans that no job has now."""
        now = time.monotonic()
        if now < self._refreshed_at + self._refresh_secs:
            return
        self._refreshed_at = now
        kept = {steps: step for steps, step in self._bottlenecks.items() if steps in plans}
        self._bottlenecks = kept | self._in_flight.busiest_steps()
        self._pools = _name_pools(self._in_flight.snapshot().shared_steps)

    def _pool(self, steps: Steps) -> str:
        step = self._bottlenecks.get(steps, steps[0])
        return self._pools.get(step, step)

    def _weight(self, owner: str) -> int:
        return self._weights.get(owner, 1)

    def _count_in_flight(self) -> Counter[tuple[str, str]]:
        """Count images by owner and pool, including those of jobs that have nothing left to dispatch."""
        counts: Counter[tuple[str, str]] = Counter()
        for (owner, steps), images in self._in_flight.count_by_owner_and_steps().items():
            counts[owner, self._pool(steps)] += images
        return counts


@dataclass
class Allowance:
    """How many images a job, or an owner's jobs in one pool together, may have in flight, and how many it has."""

    limit: int
    in_flight: int
    owner: "Allowance | None" = None
    """The allowance of all jobs of the owner, which this is part of."""

    @property
    def free(self) -> int:
        """Images that may be dispatched now; 0 until half of this limit, and of the owner's, is free."""
        free = self.limit - self.in_flight
        if free < max(1, self.limit // 2):
            return 0
        return free if self.owner is None else min(free, self.owner.free)

    def use(self, images: int) -> None:
        """Record that images were dispatched."""
        self.in_flight += images
        if self.owner is not None:
            self.owner.use(images)


def _share(window: int, weight: int, max_weight: int) -> int:
    return max(1, window * weight // max_weight)


def _name_pools(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return, by step, one name for all steps that the same workers serve; `pairs` are known to share workers."""
    names: dict[str, str] = {}
    for pair in pairs:
        both = {names.get(step, step) for step in pair}
        merged = [*pair, *(step for step, name in names.items() if name in both)]
        names |= dict.fromkeys(merged, min(both))
    return names

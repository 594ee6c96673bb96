"""How jobs share the workers: owners by the weights of their keys, and an owner's jobs by their own.

A queue serves first what came first, so whoever has twice as much in it is served twice as fast: what each may have
under way decides. Only those share who wait for the same workers. Jobs that wait for different ones take nothing from
each other and have whole windows; so has each of several equal jobs whose owner nobody competes with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.coordinator.ports.repository import Job
from penstock.coordinator.scheduling.in_flight import InFlight, Steps

_LOOK_SECS = 0.5
"""How long it holds where images wait: to see that, all that are under way are gone through."""


class FairShare:
    """Sees who competes, and splits windows between them. `weights` are those of owners, 1 unless given."""

    def __init__(self, live: InFlight, weights: Mapping[str, int]) -> None:
        self._live = live
        self._weights = weights
        self._looked_at = 0.0
        self._places: dict[Steps, str] = {}
        """Where images of a plan with these steps waited when any was last seen under way."""
        self._names: dict[str, str] = {}
        """One name for all steps that the same workers serve, by step."""

    def split(self, windows: Sequence[tuple[Job, int]]) -> Allocation:
        """Share between jobs, each of which might have a window of so many images under way if it were alone."""
        claims = {job.id: _Claim(window, self._live.under_way(job.id)) for job, window in windows}
        if len({(job.owner, job.weight) for job, _ in windows}) > 1:
            self._look({job.plan.steps for job, _ in windows})
            self._bound(claims, [job for job, _ in windows])
        return Allocation(claims)

    def _bound(self, claims: Mapping[str, _Claim], jobs: Sequence[Job]) -> None:
        places: dict[str, dict[str, list[Job]]] = {}
        for job in jobs:
            places.setdefault(self._place(job.plan.steps), {}).setdefault(job.owner, []).append(job)
        under_way = self._under_way() if any(len(owners) > 1 for owners in places.values()) else Counter()
        for place, owners in places.items():
            heaviest = max(map(self._weight, owners))
            for owner, own in owners.items():
                window = max(claims[job.id].most for job in own)
                share = _share(window, self._weight(owner), heaviest)
                together = _Claim(share, under_way[owner, place]) if len(owners) > 1 else None
                weightiest = max(job.weight for job in own)
                for job in own:
                    claim = claims[job.id]
                    claim.most, claim.within = _share(claim.most, job.weight, weightiest), together

    def _look(self, plans: set[Steps]) -> None:
        """See where images wait, now and then; plans that no job has any more are forgotten."""
        now = time.monotonic()
        if now < self._looked_at + _LOOK_SECS:
            return
        self._looked_at = now
        kept = {plan: place for plan, place in self._places.items() if plan in plans}
        self._places = kept | self._live.places()
        self._names = _name_shared(self._live.joined())

    def _place(self, plan: Steps) -> str:
        step = self._places.get(plan, plan[0])
        return self._names.get(step, step)

    def _weight(self, owner: str) -> int:
        return self._weights.get(owner, 1)

    def _under_way(self) -> Counter[tuple[str, str]]:
        """Count images by owner and place, those of jobs of which nothing is left to send included."""
        counted: Counter[tuple[str, str]] = Counter()
        for (owner, plan), images in self._live.load().items():
            counted[owner, self._place(plan)] += images
        return counted


@dataclass
class _Claim:
    """How many images a job, or all of an owner's in one place, may have under way, and how many it has."""

    most: int
    has: int
    within: _Claim | None = None
    """The owner's, of which a job's is a part."""

    @property
    def free(self) -> int:
        return self.most - self.has

    @property
    def is_half_free(self) -> bool:
        return self.free >= max(1, self.most // 2)


class Allocation:
    """What each job may be sent by now."""

    def __init__(self, claims: Mapping[str, _Claim]) -> None:
        self._claims = claims

    def room(self, job: str) -> int:
        """Return how many images of a job may be sent; 0 until half of what it, and its owner, may have is free."""
        claim = self._claims[job]
        bounds = [claim] if claim.within is None else [claim, claim.within]
        return min(bound.free for bound in bounds) if all(bound.is_half_free for bound in bounds) else 0

    def take(self, job: str, images: int) -> None:
        """Note that images of a job were sent."""
        claim: _Claim | None = self._claims[job]
        while claim is not None:
            claim.has += images
            claim = claim.within


def _share(window: int, weight: int, heaviest: int) -> int:
    return max(1, window * weight // heaviest)


def _name_shared(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return one name for all steps that the same workers serve, by step; `pairs` are steps of which that is known."""
    names: dict[str, str] = {}
    for pair in pairs:
        both = {names.get(step, step) for step in pair}
        named = [*pair, *(step for step, name in names.items() if name in both)]
        names |= dict.fromkeys(named, min(both))
    return names

"""How long images take in each operation of a plan, as those took that went the same way before them.

What an operation takes depends on its parameters (a `bilateral` blur takes 50 times as long as a `gaussian` one), and
on what was done before it: the first one decodes, and what follows a `resize` has few pixels to work on. So images
count for the step, and for the plan up to there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache

from penstock.coordinator.ports.repository import StoredPlan

_MEMORY_IMAGES = 1_000
_MEMORY_KINDS = 256


class Mean:
    """A mean that forgets: the last thousand or so count."""

    def __init__(self) -> None:
        self._count = 0.0
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        if self._count >= _MEMORY_IMAGES:
            self._count /= 2
            self._sum /= 2
        self._count += 1
        self._sum += value

    @property
    def value(self) -> float | None:
        """The mean; None before there is a value."""
        return self._sum / self._count if self._count else None


class ServiceTimes:
    """What was measured, by step, and by kind for those kinds that were seen last. For one thread at a time."""

    def __init__(self) -> None:
        self._by_step: dict[str, Mean] = {}
        self._by_kind: dict[str, Mean] = {}

    def add(self, step: str, kind: str, secs: float) -> None:
        """Count the work that one image took in a step; `kind` is of `name_kinds`."""
        self._by_step.setdefault(step, Mean()).add(secs)
        mean = self._by_kind.pop(kind, None) or Mean()
        mean.add(secs)
        self._by_kind[kind] = mean
        if len(self._by_kind) > _MEMORY_KINDS:
            del self._by_kind[next(iter(self._by_kind))]

    def steps(self) -> list[str]:
        """Return the steps that were measured."""
        return list(self._by_step)

    def kinds(self) -> dict[str, float | None]:
        """Return the seconds of an image in each kind that was measured."""
        return {kind: mean.value for kind, mean in self._by_kind.items()}

    def of_step(self, step: str) -> float | None:
        """Return the seconds of an image in a step, whatever it did; None before any was measured."""
        return self._by_step[step].value if step in self._by_step else None

    def of_kind(self, kind: str) -> float | None:
        """Return the seconds of an image in an operation of a kind; None before any was measured."""
        return self._by_kind[kind].value if kind in self._by_kind else None


def find_secs(
    plan: StoredPlan, of_kind: Callable[[str], float | None], of_step: Callable[[str], float | None]
) -> list[float | None]:
    """Return the seconds of an image in each operation of a plan: of its kind, else of its step; None for neither."""
    found = [(of_kind(kind), step) for kind, step in zip(name_kinds(plan), plan.steps, strict=True)]
    return [of_step(step) if secs is None else secs for secs, step in found]


def name_kinds(plan: StoredPlan) -> tuple[str, ...]:
    """Return a name for each operation of a plan, which plans share that are the same up to it."""
    return _name_kinds(json.dumps(plan.document(), sort_keys=True))


@lru_cache(maxsize=_MEMORY_KINDS)
def _name_kinds(plan: str) -> tuple[str, ...]:
    so_far, names = hashlib.blake2b(digest_size=8), []
    for operation in json.loads(plan):
        so_far.update(json.dumps(operation, sort_keys=True).encode())
        names.append(so_far.hexdigest())
    return tuple(names)

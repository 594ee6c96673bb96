"""Service times: seconds of work of one image, by step and by what was done to the image before.

An operation's time depends on its parameters (a `bilateral` blur takes 50 times as long as a `gaussian` one) and on the
operations before it: the first one decodes, and after a `resize` there are few pixels left. So times are kept for each
step, and for each prefix of a plan, that is an operation with all that comes before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache

from penstock.coordinator.ports.repository import StoredPlan

_WINDOW_IMAGES = 1_000
_MAX_PREFIXES = 256

Lookup = Callable[[str], float | None]


class Mean:
    """A mean of about the last thousand values; 0 before there are any."""

    def __init__(self) -> None:
        self.value = 0.0
        self._count = 0.0
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        if self._count >= _WINDOW_IMAGES:
            self._count /= 2
            self._sum /= 2
        self._count += 1
        self._sum += value
        self.value = self._sum / self._count


class ServiceTimes:
    """Measured service times, by step and by prefix. Prefixes used least recently are dropped. Not thread-safe."""

    def __init__(self) -> None:
        self._by_step: dict[str, Mean] = {}
        self._by_prefix: dict[str, Mean] = {}

    def add(self, step: str, prefix: str, secs: float) -> None:
        """Add the work of one image in a step; `prefix` is one of `prefix_keys`."""
        self._by_step.setdefault(step, Mean()).add(secs)
        mean = self._by_prefix.pop(prefix, None) or Mean()
        mean.add(secs)
        self._by_prefix[prefix] = mean
        if len(self._by_prefix) > _MAX_PREFIXES:
            del self._by_prefix[next(iter(self._by_prefix))]

    def by_step(self) -> dict[str, float]:
        """Return the seconds per image of each measured step."""
        return {step: mean.value for step, mean in self._by_step.items()}

    def of_plan(self, plan: StoredPlan) -> list[float | None]:
        """See `find_service_times`."""
        return find_service_times(plan, self._of_step, self._of_prefix)

    def _of_step(self, step: str) -> float | None:
        return self._by_step[step].value if step in self._by_step else None

    def _of_prefix(self, prefix: str) -> float | None:
        return self._by_prefix[prefix].value if prefix in self._by_prefix else None

    def by_prefix(self) -> dict[str, float]:
        """Return the seconds per image of each measured prefix."""
        return {prefix: mean.value for prefix, mean in self._by_prefix.items()}


def find_service_times(plan: StoredPlan, of_step: Lookup, of_prefix: Lookup) -> list[float | None]:
    """Return the seconds per image in each operation of a plan: of its prefix, else of its step, else None."""
    times = [(of_prefix(prefix), step) for prefix, step in zip(prefix_keys(plan), plan.steps, strict=True)]
    return [of_step(step) if secs is None else secs for secs, step in times]


def prefix_keys(plan: StoredPlan) -> tuple[str, ...]:
    """Return a key for each operation of a plan, which plans share if they are the same up to that operation."""
    return _prefix_keys(json.dumps(plan.operations, sort_keys=True))


@lru_cache(maxsize=_MAX_PREFIXES)
def _prefix_keys(plan: str) -> tuple[str, ...]:
    digest, keys = hashlib.blake2b(digest_size=8), []
    for operation in json.loads(plan):
        digest.update(json.dumps(operation, sort_keys=True).encode())
        keys.append(digest.hexdigest())
    return tuple(keys)

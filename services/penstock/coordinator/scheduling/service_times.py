"""Service times: seconds of work of one image, by step and by what was done to the image before.

An operation's time depends on its parameters (a `bilateral` blur takes 50 times as long as a `gaussian` one) and on the
operations before it: the first one decodes, and after a `resize` there are few pixels left. So times are kept for each
step, and for each prefix of a plan, that is an operation with all that comes before it.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache

from penstock.common.model.plan import NO_STEPS
from penstock.coordinator.ports.repository import StoredPlan

_WINDOW_IMAGES = 1_000
_MAX_PREFIXES = 256


class Mean:
    """A mean of about the last thousand values; 0 before there are any."""

    def __init__(self) -> None:
        self.value = 0.0
        self._count = 0.0
        self._sum = 0.0

    def add(self, value: float) -> float:
        """Add one value; return the mean."""
        if self._count >= _WINDOW_IMAGES:
            self._count /= 2
            self._sum /= 2
        self._count += 1
        self._sum += value
        self.value = self._sum / self._count
        return self.value


class ServiceTimes:
    """Measured seconds per image, by step and by prefix. Prefixes used least recently are dropped. Not thread-safe."""

    def __init__(self) -> None:
        self.by_step: dict[str, float] = {}
        self.by_prefix: dict[str, float] = {}
        self._step_means: defaultdict[str, Mean] = defaultdict(Mean)
        self._prefix_means: dict[str, Mean] = {}

    def add(self, step: str, prefix: str, secs: float) -> None:
        """Add the work of one image in a step; `prefix` is one of `prefix_keys`."""
        self.by_step[step] = self._step_means[step].add(secs)
        mean = self._prefix_means.pop(prefix, None) or Mean()
        self.by_prefix[prefix] = mean.add(secs)
        self._prefix_means[prefix] = mean
        if len(self._prefix_means) > _MAX_PREFIXES:
            oldest = next(iter(self._prefix_means))
            del self._prefix_means[oldest], self.by_prefix[oldest]


def find_service_times(
    plan: StoredPlan, by_step: Mapping[str, float | None], by_prefix: Mapping[str, float]
) -> list[float | None]:
    """Return the seconds per image in each operation of a plan: of its prefix, else of its step, else None."""
    return [
        by_prefix.get(prefix, by_step.get(step)) for prefix, step in zip(prefix_keys(plan), plan.steps, strict=True)
    ]


def prefix_keys(plan: StoredPlan) -> tuple[str, ...]:
    """Return a key for each operation of a plan, which plans share if they are the same up to that operation."""
    return _prefix_keys(json.dumps(plan.operations, sort_keys=True))


@lru_cache(maxsize=_MAX_PREFIXES)
def _prefix_keys(plan: str) -> tuple[str, ...]:
    digest, keys = hashlib.blake2b(digest_size=8), []
    for operation in json.loads(plan):
        digest.update(json.dumps(operation, sort_keys=True).encode())
        if operation["op"] not in NO_STEPS:
            keys.append(digest.hexdigest())
    return tuple(keys)

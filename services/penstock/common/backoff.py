"""Backoff: the growing, jittered delay between retries."""

import random
from dataclasses import dataclass
from threading import Event


@dataclass
class Backoff:
    """Delays that grow by `factor` from `first_secs` up to `max_secs`, for one thread.

    Each is shortened at random by up to the share `jitter`, so that clients of a server that comes back do not all
    arrive at the same moment.
    """

    first_secs: float
    max_secs: float
    factor: float = 2.0
    jitter: float = 0.5
    retries: int = 0

    def delay_secs(self, retry: int) -> float:
        """Return the delay before a retry, counted from 0."""
        grown: float = self.first_secs * self.factor ** min(retry, 100)  # a larger power overflows
        return min(grown, self.max_secs) * random.uniform(1 - self.jitter, 1)  # noqa: S311 (no secret)

    def next_secs(self) -> float:
        """Return the delay before the next retry."""
        self.retries += 1
        return self.delay_secs(self.retries - 1)

    def wait(self, stopping: Event) -> bool:
        """Wait before the next retry; return whether `stopping` was set meanwhile."""
        return stopping.wait(self.next_secs())

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self.retries = 0

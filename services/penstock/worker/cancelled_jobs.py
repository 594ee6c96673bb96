"""CancelledJobs: whether jobs were cancelled, by their markers in the store."""

import time
from collections.abc import Callable

_MAX_CACHED_JOBS = 1_000


class JobCancelledError(Exception):
    """The job of the current chunk was cancelled."""


class CancelledJobs:
    """Looks up whether jobs were cancelled, each at most once in `cache_secs`."""

    def __init__(
        self, lookup: Callable[[str], bool], cache_secs: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lookup = lookup
        self._cache_secs = cache_secs
        self._clock = clock
        self._cache: dict[str, tuple[bool, float]] = {}

    def __len__(self) -> int:
        return len(self._cache)

    def check(self, job: str) -> None:
        """Raise JobCancelledError if a job was cancelled, UnavailableError if the store is unreachable."""
        cancelled, expires_at = self._cache.get(job, (False, 0.0))
        now = self._clock()
        if not cancelled and now >= expires_at:
            if len(self._cache) >= _MAX_CACHED_JOBS:
                self._cache.clear()
            cancelled = self._lookup(job)
            self._cache[job] = (cancelled, now + self._cache_secs)
        if cancelled:
            raise JobCancelledError(job)

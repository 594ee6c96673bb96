"""Which jobs were cancelled, as the store tells."""

from __future__ import annotations

import time
from collections.abc import Callable


class CancelledJobs:
    """Which jobs are cancelled, looked up at most once in `hold_secs` for each job."""

    _MAX_JOBS = 1_000

    def __init__(self, look_up: Callable[[str], bool], hold_secs: float) -> None:
        self._look_up = look_up
        self._hold_secs = hold_secs
        self._seen: dict[str, tuple[bool, float]] = {}

    def has(self, job: str) -> bool:
        """Return whether a job was cancelled. Once cancelled it stays so."""
        cancelled, until = self._seen.get(job, (False, 0.0))
        now = time.monotonic()
        if not cancelled and now >= until:
            if len(self._seen) >= self._MAX_JOBS:
                self._seen.clear()
            cancelled = self._look_up(job)
            self._seen[job] = (cancelled, now + self._hold_secs)
        return cancelled

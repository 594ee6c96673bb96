"""Leader status: the leader's snapshot, which followers read from the database."""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock.coordinator.ports.repository import Repository
from penstock.coordinator.scheduling.snapshot import Snapshot

_CACHE_SECS = 0.5
_STALE_SECS = 10.0


class LeaderStatus:
    """Reads the leader's snapshot at most twice a second. May be used from any thread."""

    def __init__(self, repository: Repository, clock: Callable[[], float] = time.monotonic) -> None:
        self._repository = repository
        self._clock = clock
        self._snapshot = Snapshot()
        self._next_read_at = 0.0
        self._written_at = 0.0
        """By the database's clock."""
        self._changed_at = 0.0
        """By this process's clock, so that the two need not agree."""

    def read(self) -> Snapshot:
        """Return the leader's last snapshot; an empty one if it has not changed for ten seconds.

        Raises:
            UnavailableError: the database is unreachable.
        """
        now = self._clock()
        if now >= self._next_read_at:
            status = self._repository.get_status()
            if status is not None and status[0] != self._written_at:
                self._written_at, self._snapshot, self._changed_at = status[0], Snapshot.from_json(status[1]), now
            self._next_read_at = now + _CACHE_SECS
        return self._snapshot if now - self._changed_at < _STALE_SECS else Snapshot()

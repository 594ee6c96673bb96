"""What a coordinator that does not lead knows of the images under way: what the leader told, not long ago."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from penstock.coordinator.ports.repository import Repository, StoredPlan
from penstock.coordinator.scheduling.service_times import find_secs

_HOLD_SECS = 0.5
_STALE_SECS = 10.0


class Snapshot:
    """What a leading coordinator told of its `Live`, for those that follow it."""

    def __init__(self, text: str = "{}") -> None:
        status = json.loads(text)
        self._jobs = status.get("jobs", {})
        self._steps = status.get("steps", {})
        self._kinds: Mapping[str, float] = status.get("kinds", {})
        self._chunks = status.get("chunks", {})
        self._joined = status.get("joined", [])

    def positions(self, job: str) -> list[tuple[int, int]]:
        """As `Live.positions`."""
        return [(waiting, running) for waiting, running in self._jobs.get(job, {}).get("positions", [])]

    def images_per_second(self, job: str) -> float | None:
        """As `Live.images_per_second`."""
        rate: float | None = self._jobs.get(job, {}).get("rate")
        return rate

    def seconds_per_image(self, step: str) -> float | None:
        """As `Live.seconds_per_image`."""
        secs: float | None = self._steps.get(step, (None, None))[0]
        return secs

    def seconds_of(self, plan: StoredPlan) -> list[float | None]:
        """As `Live.seconds_of`."""
        return find_secs(plan, self._kinds.get, self.seconds_per_image)

    def busy(self, step: str) -> float | None:
        """As `Live.busy`."""
        busy: float | None = self._steps.get(step, (None, None))[1]
        return busy

    def chunks_running(self) -> dict[str, int]:
        """As `Live.chunks_running`."""
        return dict(self._chunks)

    def joined(self) -> set[tuple[str, str]]:
        """As `Live.joined`."""
        return {(before, after) for before, after in self._joined}


class LeaderStatus:
    """Reads the leader's status from the database, at most twice a second. May be used from any thread."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._told = Snapshot()
        self._ask_at = 0.0
        self._put_at = 0.0
        self._new_at = 0.0

    def told(self) -> Snapshot:
        """Return what the leader told last; nothing where that is long ago, by this process's own clock.

        Raises:
            UnavailableError: the database is away.
        """
        now = time.monotonic()
        if now >= self._ask_at:
            self._read(now)
            self._ask_at = now + _HOLD_SECS
        return self._told if now - self._new_at < _STALE_SECS else Snapshot()

    def _read(self, now: float) -> None:
        status = self._repository.get_status()
        if status is not None and status[0] != self._put_at:
            self._put_at, text = status
            self._told, self._new_at = Snapshot(text), now

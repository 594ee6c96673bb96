"""Snapshot: what is in flight at one moment, and how fast, for the API of the leader and of its followers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from penstock.coordinator.ports.repository import Repository, StoredPlan
from penstock.coordinator.ports.scheduler import JobProgress, WorkerState
from penstock.coordinator.scheduling.service_times import find_service_times
from penstock.coordinator.scheduling.worker_counts import Waiting

_CACHE_SECS = 0.5
_STALE_SECS = 10.0


class StepSnapshot(NamedTuple):
    """One step's measurements."""

    seconds_per_image: float | None = None
    busy_workers: float | None = None
    """Workers it keeps busy, on average over the last seconds."""


@dataclass(frozen=True)
class Snapshot:
    """What the leader knows of images in flight. Followers read it as JSON from the database.

    In a rolling upgrade, leader and followers may differ in version: unknown fields are ignored, and missing ones have
    defaults. The aliases are the names of version 0.1.0.
    """

    jobs: dict[str, JobProgress] = field(default_factory=dict)
    steps: dict[str, StepSnapshot] = field(default_factory=dict)
    by_prefix: Annotated[dict[str, float], Field(alias="kinds")] = field(default_factory=dict)
    """Seconds per image for each prefix of a plan; see `service_times`."""
    running_chunks: Annotated[dict[str, int], Field(alias="chunks")] = field(default_factory=dict)
    """Chunks that workers hold, by step."""
    shared_steps: Annotated[frozenset[tuple[str, str]], Field(alias="joined")] = frozenset()
    """Pairs of steps that the same workers serve: most images did not wait in between."""
    waiting: dict[str, Waiting] = field(default_factory=dict)
    """The steps of which workers wait for a dependency that cannot be used."""
    waiting_for: str | None = None
    """What the leader itself waits for, such as `database full (0 bytes free)`."""
    workers: list[WorkerState] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """Read a snapshot; one that can't be read counts as empty."""
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError:
            return cls()

    def to_json(self) -> str:
        """Return it as JSON."""
        return _ADAPTER.dump_json(self, by_alias=True).decode()

    def job(self, job: str) -> JobProgress:
        """Return a job's images in flight."""
        return self.jobs.get(job, JobProgress(waiting_for=self.waiting_for))

    def step(self, name: str) -> StepSnapshot:
        """Return a step's measurements."""
        return self.steps.get(name, StepSnapshot())

    def waiting_workers(self, step: str) -> int:
        """Return how many of a step's workers wait."""
        return self.waiting[step].workers if step in self.waiting else 0

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        """Return the seconds per image in each operation of a plan; None where nothing comparable was measured."""
        by_step = {name: step.seconds_per_image for name, step in self.steps.items()}
        return find_service_times(plan, by_step, self.by_prefix)

    def shared_with(self, step: str) -> set[str]:
        """Return the steps that the same workers serve, as far as pairs of them show it."""
        return {other for pair in self.shared_steps if step in pair for other in pair} - {step}


_ADAPTER = TypeAdapter(Snapshot)


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

"""Worker counts: how many workers serve each step, by the consumers of its queue, how many wait, and what each does.

A worker that waits for a store or a bucket does not consume, and says what it waits for in its events.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from penstock.common.broker.base import Broker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Event, step_queue
from penstock.coordinator.ports.scheduler import WorkerState

_CACHE_SECS = 2.0
_SILENCE_SECS = 60.0
"""A worker that has said nothing for so long is gone. While it waits, it tells more often."""
_BUSY_SILENCE_SECS = 900.0
_MAX_WORKERS = 500


class WorkerCounts:
    """Workers by step, read at most every two seconds. A worker that serves several steps counts for each of them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reading = threading.Lock()
        self._cache: dict[str, tuple[float, int]] = {}

    def count(self, step: str) -> int:
        """Return the workers of a step.

        Raises:
            UnavailableError: the broker is unreachable.
        """
        expires_at, count = self._cache.get(step, (0.0, 0))
        now = time.monotonic()
        if now >= expires_at:
            count = self._broker.depth(step_queue(step)).consumers
            self._cache[step] = (now + _CACHE_SECS, count)
        return count

    def last_known(self, step: str) -> int:
        """Return the workers of a step, for requests: only one thread at a time waits for an unreachable broker."""
        if self._reading.acquire(blocking=False):
            try:
                with suppress(UnavailableError):
                    return self.count(step)
            finally:
                self._reading.release()
        return self._cache.get(step, (0.0, 0))[1]


class Waiting(NamedTuple):
    """How many of a step's workers wait, and what the last one of them waits for."""

    workers: int
    waiting_for: str


class KnownWorkers:
    """The workers, and what each does, as their events say. Not thread-safe.

    A worker that has said nothing for a minute is gone, unless it works on a chunk, which it does without a word.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._workers: dict[str, WorkerState] = {}
        self._heard: dict[str, float] = {}
        """When each worker last sent an event, the latest one last."""

    def apply(self, event: Event, step: str | None) -> None:
        """Note what an event says about its worker; `step` is the one that it works on from now on, None for none."""
        known = self._workers.get(event.worker) or WorkerState(event.worker)
        if not event.job and event.steps:
            known = known._replace(steps=event.steps, version=event.version, waiting_for=event.waiting_for, step=None)
        elif event.job:
            since = self._clock() if step != known.step else known.since
            known = known._replace(step=step, since=since, waiting_for=event.waiting_for)
        self._workers[event.worker] = known
        self._heard.pop(event.worker, None)
        self._heard[event.worker] = self._clock()

    def count(self) -> int:
        """Count the workers that sent an event within the last minute."""
        oldest = self._clock() - _SILENCE_SECS
        return sum(heard >= oldest for heard in self._heard.values())

    def states(self) -> list[WorkerState]:
        """Return the workers by name, at most 500. `since` is how many seconds ago each began its step."""
        now = self._clock()
        for name, heard in [*self._heard.items()]:
            silence = _BUSY_SILENCE_SECS if self._workers[name].step else _SILENCE_SECS
            if heard < now - silence:
                del self._heard[name], self._workers[name]
        states = (self._workers[name] for name in sorted(self._workers)[:_MAX_WORKERS])
        return [worker._replace(since=now - worker.since) for worker in states]

    def waiting(self) -> dict[str, Waiting]:
        """Return the steps of which workers wait."""
        oldest = self._clock() - _SILENCE_SECS
        found: dict[str, Waiting] = {}
        for name, heard in self._heard.items():
            worker = self._workers[name]
            if worker.waiting_for is not None and heard >= oldest:
                for step in worker.steps:
                    found[step] = Waiting(found[step].workers + 1 if step in found else 1, worker.waiting_for)
        return found


def find_waiting(waiting: dict[str, Waiting], steps: Iterable[str]) -> str | None:
    """Return what the workers of the first of some steps wait for; None if none do."""
    return next((waiting[step].waiting_for for step in steps if step in waiting), None)

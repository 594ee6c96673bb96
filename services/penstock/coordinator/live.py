"""What is under way right now, and how fast: kept in memory, lost with the process, rebuilt as work goes on."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from penstock.common.messages import Event
from penstock.coordinator.repository import Job

_RECENT_SECS = 10.0
_MEMORY_IMAGES = 1_000
_MEMORY_JOBS = 1_000


class Rate:
    """A sum over the last ten seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._entries: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, amount: float) -> None:
        """Count `amount` now; entries of one tenth of a second are kept as one."""
        now = time.monotonic()
        self._forget_before(now - _RECENT_SECS)
        self._sum += amount
        if self._entries and now - self._entries[-1][0] < 0.1:
            last, so_far = self._entries[-1]
            self._entries[-1] = (last, so_far + amount)
        else:
            self._entries.append((now, amount))

    def per_second(self) -> float:
        """Return the mean over the last ten seconds, or over its life where that is shorter."""
        now = time.monotonic()
        self._forget_before(now - _RECENT_SECS)
        return max(0.0, self._sum) / max(0.1, min(_RECENT_SECS, now - self._began))

    def _forget_before(self, moment: float) -> None:
        while self._entries and self._entries[0][0] < moment:
            self._sum -= self._entries.popleft()[1]


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


@dataclass
class _LiveJob:
    run: int
    steps: tuple[str, ...]
    images: dict[int, tuple[int, bool]] = field(default_factory=dict)
    """Image id → index of the operation it is at, and whether it is worked on."""
    ended: Rate = field(default_factory=Rate)


class Live:
    """Positions of the images under way and measured speeds. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, _LiveJob] = {}
        self._work: dict[str, Mean] = {}
        self._busy: dict[str, Rate] = {}
        self._outcomes: Counter[str] = Counter()
        self._ended: dict[str, int] = {}
        """The last run of each job that ended lately: a dispatch that such an end has overtaken is not noted."""

    def dispatched(self, job: Job, images: Iterable[tuple[int, int]]) -> None:
        """Note that images (id, index of operation) were sent to their queues."""
        with self._lock:
            if self._ended.get(job.id, -1) >= job.run:
                return
            live = self._jobs.get(job.id)
            if live is None or live.run != job.run:
                steps = tuple(str(operation["op"]) for operation in job.plan)
                live = self._jobs[job.id] = _LiveJob(job.run, steps)
            live.images.update((image, (step, False)) for image, step in images)

    def observe(self, events: Sequence[Event]) -> None:
        """Follow events in their order."""
        with self._lock:
            for event in events:
                live = self._jobs.get(event.job)
                if live is None or live.run != event.run:
                    continue
                if event.kind == "finished":
                    self._finish(live, event)
                elif 0 <= event.step < len(live.steps):
                    self._move(live, event)

    def _move(self, live: _LiveJob, event: Event) -> None:
        """Move images on. That they went to a step may be told after that step's worker told that it has them."""
        started = event.kind == "started"
        for image in event.images:
            at = live.images.get(image)
            if at is not None and (started or event.step > at[0]):
                live.images[image] = (event.step, started)

    def _finish(self, live: _LiveJob, event: Event) -> None:
        for outcome in event.outcomes:
            if live.images.pop(outcome.id, None) is None:
                continue
            live.ended.add(1)
            self._outcomes[outcome.error.code if outcome.error else "done"] += 1
            for timing in outcome.timings:
                if not 0 <= timing.step < len(live.steps):
                    continue
                step = live.steps[timing.step]
                self._work.setdefault(step, Mean()).add(timing.work)
                self._busy.setdefault(step, Rate()).add(timing.work)

    def forget(self, job: str, run: int) -> None:
        """Drop a job that has ended in its `run`; a later run of it, begun by a retry meanwhile, stays."""
        with self._lock:
            self._ended.pop(job, None)
            self._ended[job] = run
            if len(self._ended) > _MEMORY_JOBS:
                del self._ended[next(iter(self._ended))]
            if job in self._jobs and self._jobs[job].run <= run:
                del self._jobs[job]

    def under_way(self, job: str | None = None) -> int:
        """Count the images under way, of one job or of all."""
        with self._lock:
            if job is None:
                return sum(len(live.images) for live in self._jobs.values())
            return len(self._jobs[job].images) if job in self._jobs else 0

    def positions(self, job: str) -> list[tuple[int, int]]:
        """Return `(waiting, running)` images for each operation of the plan; empty where none is under way."""
        with self._lock:
            live = self._jobs.get(job)
            if live is None or not live.images:
                return []
            tally = Counter(live.images.values())
            return [(tally[index, False], tally[index, True]) for index in range(len(live.steps))]

    def images_per_second(self, job: str) -> float | None:
        """Return how fast a job's images end."""
        with self._lock:
            return self._jobs[job].ended.per_second() if job in self._jobs else None

    def seconds_per_image(self, step: str) -> float | None:
        """Return the work one image takes in a step."""
        with self._lock:
            return self._work[step].value if step in self._work else None

    def busy(self, step: str) -> float | None:
        """Return how many workers' worth of time a step takes, on average over the last seconds."""
        with self._lock:
            return self._busy[step].per_second() if step in self._busy else None

    def outcomes(self) -> dict[str, int]:
        """Return how many images ended since the start, by `done` or error code."""
        with self._lock:
            return dict(self._outcomes)

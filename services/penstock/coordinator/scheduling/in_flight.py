"""What is under way right now, and how fast: kept in memory, lost with the process, rebuilt as work goes on."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from penstock.common.model.messages import Event
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.scheduling.service_times import Mean, ServiceTimes, find_secs, name_kinds

_RECENT_SECS = 10.0
_WORKER_SECS = 60.0
_MEMORY_JOBS = 1_000

Steps = tuple[str, ...]
"""The steps of a plan, in its order."""


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


class Position(NamedTuple):
    """Where one image is: at the operation of that index, waiting or worked on in `chunk`, since when (monotonic)."""

    step: int
    running: bool
    since: float
    chunk: str = ""


@dataclass
class _LiveJob:
    run: int
    steps: Steps
    kinds: tuple[str, ...]
    owner: str
    images: dict[int, Position] = field(default_factory=dict)
    ended: Rate = field(default_factory=Rate)


class InFlight:
    """Positions of the images under way and measured speeds. May be used from any thread.

    `meters` count what it sees; unlike all else here, they outlive it.
    """

    def __init__(self, meters: Counters | None = None) -> None:
        self.meters = meters or Counters()
        self._lock = threading.Lock()
        self._jobs: dict[str, _LiveJob] = {}
        self._speeds = ServiceTimes()
        self._busy: dict[str, Rate] = {}
        self._joined: dict[tuple[str, str], Mean] = {}
        """By step and the one after it: the share of images that did not wait in between."""
        self._workers: dict[str, float] = {}
        """When each worker was last heard of."""
        self._reached: dict[str, float] = {}
        """Since when the latest image that a step has begun with had waited for it."""
        self._ended: dict[str, int] = {}
        """The last run of each job that ended lately: a dispatch that such an end has overtaken is not noted."""

    def dispatched(self, job: Job, images: Iterable[tuple[int, int]]) -> None:
        """Note that images (id, index of operation) were sent to their queues."""
        with self._lock:
            live = self._job(job)
            if live is not None:
                now = time.monotonic()
                live.images.update((image, Position(step, False, now)) for image, step in images)

    def adopt(self, job: Job, images: Iterable[tuple[int, int]]) -> None:
        """Note images that the database has under way and nobody here knows of: sent by somebody else, or never."""
        with self._lock:
            live = self._job(job)
            if live is not None:
                now = time.monotonic()
                for image, step in images:
                    live.images.setdefault(image, Position(step, False, now))

    def _job(self, job: Job) -> _LiveJob | None:
        """Return a job's entry for its run, made where it is missing; None for a run that has ended."""
        if self._ended.get(job.id, -1) >= job.run:
            return None
        live = self._jobs.get(job.id)
        if live is None or live.run != job.run:
            live = self._jobs[job.id] = _LiveJob(job.run, job.plan.steps, name_kinds(job.plan), job.owner)
        return live

    def observe(self, events: Sequence[Event]) -> None:
        """Follow events in their order."""
        with self._lock:
            for event in events:
                if event.worker:  # what the coordinator refuses tells itself, without one
                    self._workers[event.worker] = time.monotonic()
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
        now = time.monotonic()
        for image in event.images:
            at = live.images.get(image)
            if at is not None and (started or event.step > at.step):
                self._reach(live, at)
                live.images[image] = Position(event.step, started, now, event.chunk)

    def _reach(self, live: _LiveJob, at: Position) -> None:
        """Note that a step has come to an image that waited for it."""
        if not at.running:
            step = live.steps[at.step]
            self._reached[step] = max(at.since, self._reached.get(step, 0.0))

    def _finish(self, live: _LiveJob, event: Event) -> None:
        for outcome in event.outcomes:
            at = live.images.pop(outcome.id, None)
            if at is None:
                continue
            self._reach(live, at)
            live.ended.add(1)
            self.meters.count_image(live.steps, outcome)
            for timing in outcome.timings:
                if not 0 <= timing.step < len(live.steps):
                    continue
                step = live.steps[timing.step]
                self._speeds.add(step, live.kinds[timing.step], timing.work)
                self._busy.setdefault(step, Rate()).add(timing.work)
            for before, after in pairwise(outcome.timings):
                if 0 <= before.step < after.step < len(live.steps):
                    pair = live.steps[before.step], live.steps[after.step]
                    self._joined.setdefault(pair, Mean()).add(after.wait == 0)

    def drop(self, job: str, images: Iterable[int]) -> None:
        """Forget images that are to be sent again."""
        with self._lock:
            if job in self._jobs:
                for image in images:
                    self._jobs[job].images.pop(image, None)

    def known(self) -> list[tuple[str, int]]:
        """Return every job that is followed, with its run."""
        with self._lock:
            return [(job, live.run) for job, live in self._jobs.items()]

    def select(self, job: str, wanted: Callable[[int, str, Position, float], bool]) -> list[int]:
        """Return the images of a job for which `wanted(image, step, position, reached)` holds.

        `reached` is since when the latest image that the step has begun with had waited for it.
        """
        with self._lock:
            live = self._jobs.get(job)
            if live is None:
                return []
            return [
                image
                for image, at in live.images.items()
                if wanted(image, live.steps[at.step], at, self._reached.get(live.steps[at.step], 0.0))
            ]

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

    def load(self) -> Counter[tuple[str, Steps]]:
        """Count the images under way by their jobs' owners and plans."""
        with self._lock:
            counted: Counter[tuple[str, Steps]] = Counter()
            for live in self._jobs.values():
                counted[live.owner, live.steps] += len(live.images)
            return counted

    def places(self) -> dict[Steps, str]:
        """Return, for each plan with images under way, the step where most of them wait.

        Where none waits, it is the one where most are worked on.
        """
        waiting: dict[Steps, Counter[str]] = {}
        running: dict[Steps, Counter[str]] = {}
        with self._lock:
            for live in self._jobs.values():
                for at in live.images.values():
                    counted = running if at.running else waiting
                    counted.setdefault(live.steps, Counter())[live.steps[at.step]] += 1
        return {plan: steps.most_common(1)[0][0] for plan, steps in (running | waiting).items()}

    def workers(self) -> int:
        """Count the workers that were heard of within the last minute."""
        with self._lock:
            oldest = time.monotonic() - _WORKER_SECS
            self._workers = {name: at for name, at in self._workers.items() if at >= oldest}
            return len(self._workers)

    def positions(self, job: str) -> list[tuple[int, int]]:
        """Return `(waiting, running)` images for each operation of the plan; empty where none is under way."""
        with self._lock:
            live = self._jobs.get(job)
            if live is None or not live.images:
                return []
            tally = Counter((at.step, at.running) for at in live.images.values())
            return [(tally[index, False], tally[index, True]) for index in range(len(live.steps))]

    def images_per_second(self, job: str) -> float | None:
        """Return how fast a job's images end."""
        with self._lock:
            return self._jobs[job].ended.per_second() if job in self._jobs else None

    def seconds_per_image(self, step: str) -> float | None:
        """Return the work one image takes in a step."""
        with self._lock:
            return self._speeds.of_step(step)

    def seconds_of(self, plan: StoredPlan) -> list[float | None]:
        """Return the work one image takes in each operation of a plan, as those took that went the same way so far.

        Where there were none, it is what images take in the step, whatever it did; None before any was measured.
        """
        with self._lock:
            return find_secs(plan, self._speeds.of_kind, self._speeds.of_step)

    def busy(self, step: str) -> float | None:
        """Return how many workers' worth of time a step takes, on average over the last seconds."""
        with self._lock:
            return self._busy[step].per_second() if step in self._busy else None

    def joined(self) -> set[tuple[str, str]]:
        """Return the pairs of steps that the same workers serve: most images go from one to the other at once."""
        with self._lock:
            return {pair for pair, share in self._joined.items() if (share.value or 0.0) > 0.5}

    def chunks_running(self) -> dict[str, int]:
        """Count the chunks that are worked on, by step."""
        with self._lock:
            chunks = {
                (name, at.step, at.chunk, live.steps[at.step])
                for name, live in self._jobs.items()
                for at in live.images.values()
                if at.running
            }
            return dict(Counter(step for *_, step in chunks))

    def tell(self) -> str:
        """Return what `Told` reads: all that others may ask, as JSON."""
        jobs = {job: {"positions": self.positions(job), "rate": self.images_per_second(job)} for job, _ in self.known()}
        with self._lock:
            measured, kinds = self._speeds.steps(), self._speeds.kinds()
        steps = {step: [self.seconds_per_image(step), self.busy(step)] for step in measured}
        more = {"kinds": kinds, "chunks": self.chunks_running(), "joined": sorted(self.joined())}
        return json.dumps({"jobs": jobs, "steps": steps, **more})

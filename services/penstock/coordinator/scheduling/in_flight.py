"""In-flight images: where each one is, and how fast steps are. Kept in memory and rebuilt as events come in."""

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from penstock.common.logs import OutageLog
from penstock.common.model.messages import Event
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.ports.scheduler import JobProgress
from penstock.coordinator.scheduling.service_times import Mean, ServiceTimes, find_service_times, prefix_keys
from penstock.coordinator.scheduling.snapshot import Snapshot, StepSnapshot
from penstock.coordinator.scheduling.worker_counts import KnownWorkers, Waiting, find_waiting

log = logging.getLogger(__name__)

_RATE_SECS = 10.0
_MAX_ENDED_JOBS = 1_000

Clock = Callable[[], float]
Steps = tuple[str, ...]
"""The steps of a plan, in order."""


class Rate:
    """A rate per second over the last ten seconds."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._started_at = clock()
        self._entries: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, amount: float) -> None:
        """Add `amount` now. Amounts within a tenth of a second share an entry, which bounds the memory."""
        now = self._clock()
        self._drop_before(now - _RATE_SECS)
        self._sum += amount
        if self._entries and now - self._entries[-1][0] < 0.1:
            at, total = self._entries[-1]
            self._entries[-1] = (at, total + amount)
        else:
            self._entries.append((now, amount))

    def per_second(self) -> float:
        """Return the mean over the last ten seconds, or since the start if that is shorter."""
        now = self._clock()
        self._drop_before(now - _RATE_SECS)
        return max(0.0, self._sum) / max(0.1, min(_RATE_SECS, now - self._started_at))

    def _drop_before(self, moment: float) -> None:
        while self._entries and self._entries[0][0] < moment:
            self._sum -= self._entries.popleft()[1]


class Position(NamedTuple):
    """Where one image is: at the operation with index `step`, waiting or running in `chunk`, since when (monotonic)."""

    step: int
    running: bool
    since: float
    chunk: str = ""


@dataclass
class _JobInFlight:
    run: int
    steps: Steps
    prefixes: tuple[str, ...]
    owner: str
    ended: Rate
    images: dict[int, Position] = field(default_factory=dict)


class InFlight:
    """Positions of the images in flight, and measured speeds. May be used from any thread.

    `counters` count what it sees; they live longer than one term of leadership. `outage` is what the coordinator itself
    waits for.
    """

    def __init__(
        self, counters: Counters | None = None, clock: Clock = time.monotonic, outage: OutageLog | None = None
    ) -> None:
        self.counters = counters or Counters()
        self.outage = outage or OutageLog(log, "the coordinator")
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, _JobInFlight] = {}
        self._service_times = ServiceTimes()
        self._busy: defaultdict[str, Rate] = defaultdict(lambda: Rate(clock))
        """Seconds of work per second, by step."""
        self._not_waited: defaultdict[tuple[str, str], Mean] = defaultdict(Mean)
        """For a step and the next one, the share of images that did not wait in between."""
        self._workers = KnownWorkers(clock)
        self._taken_since: dict[str, float] = {}
        """By step, the latest time at which an image that it has already taken began to wait."""
        self._ended_runs: dict[str, int] = {}
        """The last run of jobs that ended lately, so that a dispatch which comes after the end is not recorded."""

    def add_dispatched(self, job: Job, images: Iterable[tuple[int, int]]) -> None:
        """Record images (id, index of operation) that were sent to their queues."""
        with self._lock:
            entry = self._entry(job)
            if entry is not None:
                now = self._clock()
                entry.images.update((image, Position(step, False, now)) for image, step in images)

    def adopt(self, job: Job, images: Iterable[tuple[int, int]]) -> None:
        """Record images that only the database has in flight, dispatched by an earlier leader if at all."""
        with self._lock:
            entry = self._entry(job)
            if entry is not None:
                now = self._clock()
                for image, step in images:
                    entry.images.setdefault(image, Position(step, False, now))

    def _entry(self, job: Job) -> _JobInFlight | None:
        """Return the entry of a job's run, created if missing; None for a run that has ended."""
        if self._ended_runs.get(job.id, -1) >= job.run:
            return None
        entry = self._jobs.get(job.id)
        if entry is None or entry.run != job.run:
            entry = _JobInFlight(job.run, job.plan.steps, prefix_keys(job.plan), job.owner, Rate(self._clock))
            self._jobs[job.id] = entry
        return entry

    def apply(self, events: Sequence[Event]) -> None:
        """Apply events in their order."""
        with self._lock:
            for event in events:
                if event.worker:  # empty if the coordinator itself failed the images
                    self._workers.apply(event, self._step_of(event))
                entry = self._jobs.get(event.job)
                if entry is None or entry.run != event.run:
                    continue
                if event.kind == "finished":
                    self._finish(entry, event)
                elif 0 <= event.step < len(entry.steps):
                    self._move(entry, event)

    def _step_of(self, event: Event) -> str | None:
        """Return the step on which a worker works after an event."""
        entry = self._jobs.get(event.job)
        if entry is None or event.kind != "started" or not 0 <= event.step < len(entry.steps):
            return None
        return entry.steps[event.step]

    def _move(self, entry: _JobInFlight, event: Event) -> None:
        """Move images on, or back into the queue if their worker could not work.

        `stepped` may come after the next worker's `started`, and is then ignored.
        """
        started = event.kind == "started"
        given_back = event.waiting_for is not None
        now = self._clock()
        for image in event.images:
            at = entry.images.get(image)
            if at is not None and (started or given_back or event.step > at.step):
                self._record_taken(entry, at)
                entry.images[image] = Position(event.step, started, now, event.chunk)

    def _record_taken(self, entry: _JobInFlight, at: Position) -> None:
        if not at.running:
            step = entry.steps[at.step]
            self._taken_since[step] = max(at.since, self._taken_since.get(step, 0.0))

    def _finish(self, entry: _JobInFlight, event: Event) -> None:
        ended = []
        work_secs: defaultdict[str, float] = defaultdict(float)
        for outcome in event.outcomes:
            at = entry.images.pop(outcome.id, None)
            if at is None:
                continue
            self._record_taken(entry, at)
            ended.append(outcome)
            for timing in outcome.timings:
                if 0 <= timing.step < len(entry.steps):
                    step = entry.steps[timing.step]
                    self._service_times.add(step, entry.prefixes[timing.step], timing.work)
                    work_secs[step] += timing.work
            for before, after in pairwise(outcome.timings):
                if 0 <= before.step < after.step < len(entry.steps):
                    pair = entry.steps[before.step], entry.steps[after.step]
                    self._not_waited[pair].add(after.wait == 0)
        self.counters.count_images(entry.steps, ended)
        if ended:
            entry.ended.add(len(ended))
        for step, secs in work_secs.items():
            self._busy[step].add(secs)

    def remove_images(self, job: str, images: Iterable[int]) -> None:
        """Remove images that are requeued."""
        with self._lock:
            if job in self._jobs:
                for image in images:
                    self._jobs[job].images.pop(image, None)

    def remove_job(self, job: str, run: int) -> None:
        """Remove a job whose `run` has ended; a later run, which a retry has begun meanwhile, stays."""
        with self._lock:
            self._ended_runs.pop(job, None)
            self._ended_runs[job] = run
            if len(self._ended_runs) > _MAX_ENDED_JOBS:
                del self._ended_runs[next(iter(self._ended_runs))]
            if job in self._jobs and self._jobs[job].run <= run:
                del self._jobs[job]

    def job_runs(self) -> list[tuple[str, int]]:
        """Return all jobs that are known here, with their runs."""
        with self._lock:
            return [(job, entry.run) for job, entry in self._jobs.items()]

    def find_images(self, job: str, matches: Callable[[int, str, Position, float], bool]) -> list[int]:
        """Return the images of a job for which `matches(image, step, position, taken_since)` is true.

        `taken_since` is the latest time at which an image that the step has already taken began to wait.
        """
        with self._lock:
            entry = self._jobs.get(job)
            if entry is None:
                return []
            return [
                image
                for image, at in entry.images.items()
                if matches(image, entry.steps[at.step], at, self._taken_since.get(entry.steps[at.step], 0.0))
            ]

    def count(self, job: str | None = None) -> int:
        """Count the images in flight, of one job or of all."""
        with self._lock:
            if job is None:
                return sum(len(entry.images) for entry in self._jobs.values())
            return len(self._jobs[job].images) if job in self._jobs else 0

    def count_by_owner_and_steps(self) -> Counter[tuple[str, Steps]]:
        """Count the images in flight by their job's owner and steps."""
        with self._lock:
            counts: Counter[tuple[str, Steps]] = Counter()
            for entry in self._jobs.values():
                counts[entry.owner, entry.steps] += len(entry.images)
            return counts

    def busiest_steps(self) -> dict[Steps, str]:
        """Return, for the steps of each plan in flight, that where most images wait; if none wait, where most run."""
        waiting: dict[Steps, Counter[str]] = {}
        running: dict[Steps, Counter[str]] = {}
        with self._lock:
            for entry in self._jobs.values():
                for at in entry.images.values():
                    counts = running if at.running else waiting
                    counts.setdefault(entry.steps, Counter())[entry.steps[at.step]] += 1
        return {steps: counts.most_common(1)[0][0] for steps, counts in (running | waiting).items()}

    def count_workers(self) -> int:
        """Count the workers that sent an event within the last minute."""
        with self._lock:
            return self._workers.count()

    def waiting(self) -> dict[str, Waiting]:
        """Return the steps of which workers wait for a dependency that cannot be used."""
        with self._lock:
            return self._workers.waiting()

    def job(self, job: str) -> JobProgress:
        """Return a job's images in flight."""
        with self._lock:
            if job not in self._jobs:
                return JobProgress(waiting_for=self.outage.waiting_for)
            return self._progress(self._jobs[job], self._workers.waiting())

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        """See `Snapshot.service_times`."""
        with self._lock:
            return find_service_times(plan, self._service_times.by_step, self._service_times.by_prefix)

    def snapshot(self) -> Snapshot:
        """Return all that is known now."""
        with self._lock:
            by_step, waiting = self._service_times.by_step, self._workers.waiting()
            return Snapshot(
                jobs={name: self._progress(entry, waiting) for name, entry in self._jobs.items()},
                steps={step: StepSnapshot(secs, self._busy[step].per_second()) for step, secs in by_step.items()},
                by_prefix=dict(self._service_times.by_prefix),
                running_chunks=_count_running_chunks(self._jobs),
                shared_steps=frozenset(pair for pair, share in self._not_waited.items() if share.value > 0.5),
                waiting=waiting,
                waiting_for=self.outage.waiting_for,
                workers=self._workers.states(),
            )

    def _progress(self, entry: _JobInFlight, waiting: dict[str, Waiting]) -> JobProgress:
        at = {entry.steps[at.step]: None for at in entry.images.values()}
        waiting_for = self.outage.waiting_for or find_waiting(waiting, at)
        return _job_progress(entry, self._clock(), waiting_for)


def _job_progress(entry: _JobInFlight, now: float, waiting_for: str | None) -> JobProgress:
    if not entry.images:
        return JobProgress([], entry.ended.per_second(), waiting_for=waiting_for)
    counts = Counter((at.step, at.running) for at in entry.images.values())
    chunks = {(at.step, at.chunk): now - at.since for at in entry.images.values() if at.running}
    steps = range(len(entry.steps))
    running = [[secs for (step, _), secs in chunks.items() if step == index] for index in steps] if chunks else []
    return JobProgress(
        positions=[(counts[index, False], counts[index, True]) for index in steps],
        images_per_second=entry.ended.per_second(),
        running=[(len(each), sum(each)) for each in running],
        waiting_for=waiting_for,
    )


def _count_running_chunks(entries: Mapping[str, _JobInFlight]) -> dict[str, int]:
    chunks = {
        (name, at.step, at.chunk, entry.steps[at.step])
        for name, entry in entries.items()
        for at in entry.images.values()
        if at.running
    }
    return dict(Counter(step for *_, step in chunks))

"""Image transitions: dispatched, started, done, failed, requeued."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from penstock.common.model.jobs import OPEN_IMAGE_STATES, ImageState, JobState
from penstock.common.model.messages import Event, Outcome
from penstock.coordinator.database.backends.bulk import Among, WrittenState, update_rows
from penstock.coordinator.database.job_counters import Failed, JobCounters, lock_job, lock_jobs, save
from penstock.coordinator.database.queries import IS_OPEN, NO_FAILURE, OF_JOB, dispatchable_images, slices
from penstock.coordinator.database.rows import WAITING, StateOverlay, write_results, write_timings
from penstock.coordinator.database.schema import MAX_ID, images, jobs
from penstock.coordinator.database.usage import add_to_totals
from penstock.coordinator.ports.outcomes import code_of, error_of, failure_of
from penstock.coordinator.ports.repository import Applied, Image

_IN_FLIGHT = (ImageState.QUEUED, ImageState.RUNNING)

_AMONG = Among(images.c.id)
_TAKE = update(images).where(OF_JOB, _AMONG).values(state=ImageState.QUEUED.value, **NO_FAILURE)
_IS_QUEUED = WrittenState() == ImageState.QUEUED.value
_START = update(images).where(OF_JOB, _AMONG, _IS_QUEUED).values(state=ImageState.RUNNING.value)
_TO_PENDING = update(images).values(state=ImageState.PENDING.value)
_REQUEUE = _TO_PENDING.where(OF_JOB, images.c.state == bindparam("before"))
_REQUEUE_NAMED = _TO_PENDING.where(OF_JOB, _AMONG, WrittenState() == bindparam("before"))
_STATES = select(images.c.id, images.c.state, images.c.failure_number, images.c.error_retry).where(OF_JOB, _AMONG)
_RESUME = ("resume_step", "resume_blob", "resume_parts")
_OUTCOME = ("state", "attempts", "timings", "results", "longitude", "latitude", "error", *Failed._fields, *_RESUME)
_WHICH = ("job", "id")
GROUPS_OF = (
    select(images.c.group_id, func.count())
    .where(OF_JOB, _AMONG, images.c.group_id.is_not(None))
    .group_by(images.c.group_id)
)
"""Groups of some images, and how many of these are in each."""
_COUNT_DOWN = update(images).where(OF_JOB, images.c.id == bindparam("group"))
_COUNT_DOWN = _COUNT_DOWN.values(waits_for=images.c.waits_for - bindparam("ended"))
_IS_COMPLETE = (images.c.waits_for == 0, WrittenState() == WAITING)
_RELEASE = _TO_PENDING.where(OF_JOB, _AMONG, *_IS_COMPLETE)
_JOBS_IN_FLIGHT = select(jobs.c.id).where(IS_OPEN, jobs.c.queued + jobs.c.running > 0).order_by(jobs.c.id)


def take_pending(connection: Connection, job: str, limit: int) -> list[Image]:
    counters = lock_job(connection, job)
    if counters is None or not counters.is_open:
        return []
    taken = dispatchable_images(connection, StateOverlay.of(counters.row), limit)
    for page in slices(taken):
        connection.execute(_TAKE, {"number": counters.number, "ids": [image.id for image in page]})
    if taken:
        counters.move(ImageState.PENDING, ImageState.QUEUED, len(taken))
        counters.start()
        save(connection, counters)
    return taken


def mark_running(connection: Connection, events: Sequence[Event]) -> None:
    started = [event for event in events if event.kind == "started"]
    for counters in lock_jobs(connection, {event.job for event in started}).values():
        if counters.is_open:
            _start_images(connection, counters, started)


def _start_images(connection: Connection, counters: JobCounters, started: Iterable[Event]) -> None:
    mine = [event for event in started if (event.job, event.run) == (counters.row["id"], counters.run)]
    ids = sorted({image for event in mine for image in event.images})
    moved = sum(connection.execute(_START, {"number": counters.number, "ids": page}).rowcount for page in slices(ids))
    if moved:
        counters.move(ImageState.QUEUED, ImageState.RUNNING, moved)
        save(connection, counters)


def requeue_in_flight(connection: Connection, job: str | None = None, images: Sequence[int] | None = None) -> int:
    if job is None and images is not None:
        raise ValueError("images need a job; accepted are both, a job alone, or neither")
    ids = [job] if job is not None else connection.execute(_JOBS_IN_FLIGHT).scalars().all()
    locked = lock_jobs(connection, ids).values()
    pages = None if images is None else list(slices(sorted({image for image in images if image <= MAX_ID})))
    return sum(_requeue(connection, counters, pages) for counters in locked if counters.is_open)


def _requeue(connection: Connection, counters: JobCounters, pages: Sequence[Sequence[int]] | None) -> int:
    requeued = 0
    for state in _IN_FLIGHT:
        which = {"number": counters.number, "before": state.value}
        if pages is None:
            moved = connection.execute(_REQUEUE, which).rowcount
        else:
            moved = sum(connection.execute(_REQUEUE_NAMED, {**which, "ids": page}).rowcount for page in pages)
        counters.move(state, ImageState.PENDING, moved)
        requeued += moved
    if requeued:
        save(connection, counters)
    return requeued


def apply(connection: Connection, events: Sequence[Event]) -> list[Applied]:
    locked = lock_jobs(connection, {event.job for event in events})
    batches = {job: _Batch(counters) for job, counters in locked.items() if counters.state is not JobState.RECEIVING}
    for event in events:
        if event.kind == "finished" and event.job in batches:
            batches[event.job].outcomes.extend((event.run, outcome) for outcome in event.outcomes)
    applied = [batch.apply(connection) for batch in batches.values()]
    add_to_totals(connection, sum((batch.counters.ended for batch in batches.values()), Counter()))
    return applied


@dataclass
class _Batch:
    """The outcomes for one job in the order of their events, each with the run that it belongs to."""

    counters: JobCounters
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def apply(self, connection: Connection) -> Applied:
        states = self._states(connection)
        failures_before = self.counters.failures_seen
        changes = [
            self._finish(states, outcome) for run, outcome in self.outcomes if self._is_new(states, run, outcome)
        ]
        if changes:
            update_rows(connection, images, _OUTCOME, _WHICH, changes)
            self.counters.start()
            failed = self.counters.failures_seen - failures_before
            self.counters.count_ended(len(changes) - failed, failed)
            if self.counters.layout.gather:
                self._count_down(connection, [row[-1] for row in changes])
        finished = self.counters.end_if_complete()
        return Applied(save(connection, self.counters), finished, self.stale)

    def _count_down(self, connection: Connection, ended: Sequence[int]) -> None:
        """Count images that have ended in their groups, and those of these that can be dispatched now."""
        counters = self.counters
        is_group, number = counters.layout.is_group, counters.number
        counters.open_groups -= sum(map(is_group, ended))
        counts: Counter[int] = Counter()
        for page in slices([image for image in ended if not is_group(image)]):
            for group, count in connection.execute(GROUPS_OF, {"number": number, "ids": page}):
                counts[group] += count
        if counts:
            down = [{"number": number, "group": group, "ended": count} for group, count in sorted(counts.items())]
            connection.execute(_COUNT_DOWN, down)
        for page in slices([*counts]):
            counters.waiting_groups -= connection.execute(_RELEASE, {"number": number, "ids": page}).rowcount

    def _states(self, connection: Connection) -> dict[int, ImageState]:
        overlay = StateOverlay.of(self.counters.row)
        ids = sorted({outcome.id for _, outcome in self.outcomes})
        pages = (connection.execute(_STATES, {"number": overlay.number, "ids": page}) for page in slices(ids))
        return {image: overlay.state(*stored) for page in pages for image, *stored in page}

    def _is_new(self, states: dict[int, ImageState], run: int, outcome: Outcome) -> bool:
        """Return whether an outcome ends its image; note results that no image will list."""
        state = states.get(outcome.id)
        is_new = run == self.counters.run and state in OPEN_IMAGE_STATES
        if state is ImageState.CANCELLED or (is_new and outcome.state == "failed"):
            self.stale.extend(result.key for result in outcome.results)
        return is_new

    def _finish(self, states: dict[int, ImageState], outcome: Outcome) -> tuple[Any, ...]:
        """Count an image that has ended; return the columns of `_OUTCOME` and `_WHICH`."""
        state = ImageState(outcome.state)
        self.counters.move(states[outcome.id], state)
        states[outcome.id] = state
        columns = self._done(outcome) if state is ImageState.DONE else self._failed(outcome)
        stored = (state.value, outcome.attempts, write_timings(outcome.timings))
        return (*stored, *columns, self.counters.number, outcome.id)

    def _done(self, outcome: Outcome) -> tuple[Any, ...]:
        """Return the columns from `results` on."""
        self.counters.ended[ImageState.DONE.value] += 1
        self.counters.result_bytes += sum(result.size for result in outcome.results if "://" not in result.key)
        self.counters.count_done(outcome.id, outcome.timings)
        place = next((result.place for result in outcome.results if result.place), None)
        degrees = (place.longitude, place.latitude) if place else (None, None)
        return (write_results(outcome.results), *degrees, None, None, None, None, 0, None, 0)

    def _failed(self, outcome: Outcome) -> tuple[Any, ...]:
        """Return the columns from `results` on."""
        failure = failure_of(outcome)
        error = error_of(failure)
        self.counters.ended[code_of(error)] += 1
        failed = self.counters.count_failure(outcome.id, error, failure.step_index, outcome.timings)
        return (
            None,
            None,
            None,
            json.dumps(error),
            *failed,
            failure.step_index,
            failure.resume_blob,
            failure.resume_parts,
        )

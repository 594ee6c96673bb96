"""Image transitions: dispatched, started, done, failed, requeued."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from penstock.common.model.errors import ImageCode
from penstock.common.model.jobs import OPEN_IMAGE_STATES, ImageState, JobState
from penstock.common.model.messages import Event, Failure, Outcome
from penstock.coordinator.database.backends.bulk import Among, WrittenState, update_rows
from penstock.coordinator.database.job_counters import JobCounters, count_image, lock_job, lock_jobs, save
from penstock.coordinator.database.queries import IS_OPEN, OF_JOB, images_in_states, slices
from penstock.coordinator.database.rows import StateOverlay, write_results, write_timings
from penstock.coordinator.database.schema import MAX_ID, images, jobs
from penstock.coordinator.database.usage import add_to_totals, code_of
from penstock.coordinator.ports.repository import Applied, Image

_UNEXPLAINED = Failure(code=ImageCode.INTERNAL, message="failed without a reason", step="", retry=True)
_IN_FLIGHT = (ImageState.QUEUED, ImageState.RUNNING)

_AMONG = Among(images.c.id)
_TAKE = update(images).where(OF_JOB, _AMONG).values(state=ImageState.QUEUED.value, error=None, failure_number=None)
_IS_QUEUED = WrittenState() == ImageState.QUEUED.value
_START = update(images).where(OF_JOB, _AMONG, _IS_QUEUED).values(state=ImageState.RUNNING.value)
_TO_PENDING = update(images).values(state=ImageState.PENDING.value)
_REQUEUE = _TO_PENDING.where(OF_JOB, images.c.state == bindparam("before"))
_REQUEUE_NAMED = _TO_PENDING.where(OF_JOB, _AMONG, WrittenState() == bindparam("before"))
_STATES = select(images.c.id, images.c.state, images.c.failure_number).where(OF_JOB, _AMONG)
_RESUME = ("resume_step", "resume_blob", "resume_parts")
_OUTCOME = ("state", "attempts", "timings", "results", "error", "failure_number", *_RESUME)
_WHICH = ("job", "id")
_JOBS_IN_FLIGHT = select(jobs.c.id).where(IS_OPEN, jobs.c.queued + jobs.c.running > 0).order_by(jobs.c.id)


def take_pending(connection: Connection, job: str, limit: int) -> list[Image]:
    counters = lock_job(connection, job)
    if counters is None or not counters.is_open:
        return []
    taken = images_in_states(connection, StateOverlay.of(counters.row), [ImageState.PENDING], after=-1, limit=limit)
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
        changes = [
            self._finish(states, outcome) for run, outcome in self.outcomes if self._is_new(states, run, outcome)
        ]
        if changes:
            update_rows(connection, images, _OUTCOME, _WHICH, changes)
            self.counters.start()
        finished = self.counters.end_if_complete()
        return Applied(save(connection, self.counters), finished, self.stale)

    def _states(self, connection: Connection) -> dict[int, ImageState]:
        overlay = StateOverlay.of(self.counters.row)
        ids = sorted({outcome.id for _, outcome in self.outcomes})
        pages = (connection.execute(_STATES, {"number": overlay.number, "ids": page}) for page in slices(ids))
        return {image: overlay.state(state, failure_number) for page in pages for image, state, failure_number in page}

    def _is_new(self, states: dict[int, ImageState], run: int, outcome: Outcome) -> bool:
        state = states.get(outcome.id)
        if state is ImageState.CANCELLED:
            self.stale.extend(result.key for result in outcome.results)
        return run == self.counters.run and state in OPEN_IMAGE_STATES

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
        count_image(self.counters.done_steps, None, outcome.timings)
        return (write_results(outcome.results), None, None, 0, None, 0)

    def _failed(self, outcome: Outcome) -> tuple[Any, ...]:
        """Return the columns from `results` on."""
        failure = outcome.error or _UNEXPLAINED
        error = failure.model_dump(include={"code", "message", "step", "retry"})
        self.counters.ended[code_of(error)] += 1
        number = self.counters.count_failure(failure.step_index, outcome.timings)
        return (None, json.dumps(error), number, failure.step_index, failure.resume_blob, failure.resume_parts)

"""A job's images move: taken for dispatch, started, done or failed, given back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from penstock.common.model.errors import ImageCode
from penstock.common.model.jobs import OPEN_IMAGE_STATES, OPEN_JOB_STATES, ImageState, JobState
from penstock.common.model.messages import Event, Failure, Outcome
from penstock.coordinator.database.backends.bulk import Among, WrittenState, update_rows
from penstock.coordinator.database.job_counters import JobCounters
from penstock.coordinator.database.locking import open_ledger, open_ledgers, save
from penstock.coordinator.database.queries import images_in_state, slices
from penstock.coordinator.database.rows import Lens, write_results, write_timings
from penstock.coordinator.database.schema import MAX_ID, images, jobs
from penstock.coordinator.database.totals import add_to_totals, code_of
from penstock.coordinator.ports.repository import Applied, Image

_UNEXPLAINED = Failure(code=ImageCode.INTERNAL, message="failed, and no reason was told", step="", retry=True)
_IN_FLIGHT = (ImageState.QUEUED, ImageState.RUNNING)

_OF_JOB = images.c.job == bindparam("number")
_AMONG = Among(images.c.id)
_TAKE = update(images).where(_OF_JOB, _AMONG).values(state=ImageState.QUEUED.value, error=None, failure_number=None)
_START = (
    update(images)
    .where(_OF_JOB, _AMONG, WrittenState() == ImageState.QUEUED.value)
    .values(state=ImageState.RUNNING.value)
)
_TO_PENDING = update(images).values(state=ImageState.PENDING.value)
_REQUEUE = _TO_PENDING.where(_OF_JOB, images.c.state == bindparam("before"))
_REQUEUE_NAMED = _TO_PENDING.where(_OF_JOB, _AMONG, WrittenState() == bindparam("before"))
_STATES = select(images.c.id, images.c.state, images.c.failure_number).where(_OF_JOB, _AMONG)
_OUTCOME = (
    "state",
    "attempts",
    "timings",
    "results",
    "error",
    "failure_number",
    "resume_step",
    "resume_blob",
    "resume_parts",
)
_WHICH = ("job", "id")
_JOBS_IN_FLIGHT = (
    select(jobs.c.id)
    .where(jobs.c.state.in_([state.value for state in OPEN_JOB_STATES]), jobs.c.queued + jobs.c.running > 0)
    .order_by(jobs.c.id)
)


def take_pending(connection: Connection, job: str, limit: int) -> list[Image]:
    """See Repository.take_pending."""
    ledger = open_ledger(connection, job)
    if ledger is None or not ledger.is_open:
        return []
    taken = images_in_state(connection, Lens.of_ledger(ledger), ImageState.PENDING, after=-1, limit=limit)
    for page in slices(taken):
        connection.execute(_TAKE, {"number": ledger.number, "ids": [image.id for image in page]})
    if taken:
        ledger.move(ImageState.PENDING, ImageState.QUEUED, len(taken))
        ledger.start()
        save(connection, ledger)
    return taken


def mark_running(connection: Connection, events: Sequence[Event]) -> None:
    """See Repository.mark_running."""
    started = [event for event in events if event.kind == "started"]
    for ledger in open_ledgers(connection, {event.job for event in started}).values():
        if ledger.is_open:
            _start_images(connection, ledger, started)


def _start_images(connection: Connection, ledger: JobCounters, started: Iterable[Event]) -> None:
    mine = [event for event in started if (event.job, event.run) == (ledger.row["id"], ledger.run)]
    ids = sorted({image for event in mine for image in event.images})
    moved = sum(connection.execute(_START, {"number": ledger.number, "ids": page}).rowcount for page in slices(ids))
    if moved:
        ledger.move(ImageState.QUEUED, ImageState.RUNNING, moved)
        save(connection, ledger)


def requeue_in_flight(connection: Connection, job: str | None, named: Sequence[int] | None) -> int:
    """See Repository.requeue_in_flight."""
    if job is None and named is not None:
        raise ValueError("images are named without their job; accepted is a job with them")
    ids = [job] if job is not None else connection.execute(_JOBS_IN_FLIGHT).scalars().all()
    ledgers = open_ledgers(connection, ids).values()
    pages = None if named is None else list(slices(sorted({image for image in named if image <= MAX_ID})))
    return sum(_requeue(connection, ledger, pages) for ledger in ledgers if ledger.is_open)


def _requeue(connection: Connection, ledger: JobCounters, pages: Sequence[Sequence[int]] | None) -> int:
    requeued = 0
    for state in _IN_FLIGHT:
        which = {"number": ledger.number, "before": state.value}
        if pages is None:
            moved = connection.execute(_REQUEUE, which).rowcount
        else:
            moved = sum(connection.execute(_REQUEUE_NAMED, {**which, "ids": page}).rowcount for page in pages)
        ledger.move(state, ImageState.PENDING, moved)
        requeued += moved
    if requeued:
        save(connection, ledger)
    return requeued


def apply(connection: Connection, events: Sequence[Event]) -> list[Applied]:
    """See Repository.apply."""
    ledgers = open_ledgers(connection, {event.job for event in events})
    batches = {job: _Batch(ledger) for job, ledger in ledgers.items() if ledger.state is not JobState.RECEIVING}
    for event in events:
        if event.kind == "finished" and event.job in batches:
            batches[event.job].outcomes.extend((event.run, outcome) for outcome in event.outcomes)
    applied = [batch.apply(connection) for batch in batches.values()]
    add_to_totals(connection, sum((batch.ledger.ended for batch in batches.values()), Counter()))
    return applied


@dataclass
class _Batch:
    """The outcomes for one job, in the order in which they came, each with the run that it speaks of."""

    ledger: JobCounters
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def apply(self, connection: Connection) -> Applied:
        states = self._states(connection)
        changes = [
            self._finish(states, outcome) for run, outcome in self.outcomes if self._is_news(states, run, outcome)
        ]
        if changes:
            update_rows(connection, images, _OUTCOME, _WHICH, changes)
            self.ledger.start()
        finished = self.ledger.end_if_nothing_is_left()
        return Applied(save(connection, self.ledger), finished, self.stale)

    def _states(self, connection: Connection) -> dict[int, ImageState]:
        lens = Lens.of_ledger(self.ledger)
        ids = sorted({outcome.id for _, outcome in self.outcomes})
        pages = (connection.execute(_STATES, {"number": lens.number, "ids": page}) for page in slices(ids))
        return {image: lens.state(state, failure_number) for page in pages for image, state, failure_number in page}

    def _is_news(self, states: dict[int, ImageState], run: int, outcome: Outcome) -> bool:
        state = states.get(outcome.id)
        if state is ImageState.CANCELLED:
            self.stale.extend(result.key for result in outcome.results)
        return run == self.ledger.run and state in OPEN_IMAGE_STATES

    def _finish(self, states: dict[int, ImageState], outcome: Outcome) -> tuple[Any, ...]:
        """Enter an image's end in the books; return the columns of `_OUTCOME` and `_WHICH`."""
        state = ImageState(outcome.state)
        self.ledger.move(states[outcome.id], state)
        states[outcome.id] = state
        became = self._done(outcome) if state is ImageState.DONE else self._failed(outcome)
        written = (state.value, outcome.attempts, write_timings(outcome.timings))
        return (*written, *became, self.ledger.number, outcome.id)

    def _done(self, outcome: Outcome) -> tuple[Any, ...]:
        """Return the columns from `results` on."""
        self.ledger.ended[ImageState.DONE.value] += 1
        self.ledger.count_done(outcome.timings)
        return (write_results(outcome.results), None, None, 0, None, 0)

    def _failed(self, outcome: Outcome) -> tuple[Any, ...]:
        """Return the columns from `results` on."""
        failure = outcome.error or _UNEXPLAINED
        error = failure.model_dump(include={"code", "message", "step", "retry"})
        self.ledger.ended[code_of(error)] += 1
        return (
            None,
            json.dumps(error),
            self.ledger.count_failure(failure.step_index, outcome.timings),
            failure.step_index,
            failure.resume_blob,
            failure.resume_parts,
        )

"""JobCounters: a locked job's images by state, and what each operation of its plan has done."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from penstock.common.model.jobs import OPEN_IMAGE_STATES, OPEN_JOB_STATES, ImageState, JobState
from penstock.common.model.messages import StepTime
from penstock.coordinator.database.outbox import add_webhook_event
from penstock.coordinator.database.rows import Row, job_of, read_step_totals, write_step_totals
from penstock.coordinator.database.schema import jobs
from penstock.coordinator.ports.repository import Job, StepTotals

# In the order of ids, so that two writers can't deadlock. (SQLite has one writer and ignores FOR UPDATE.)
_LOCK = select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True))).order_by(jobs.c.id).with_for_update()
_UPDATE = update(jobs).where(jobs.c.number == bindparam("job_number"))


def count_image(steps: Sequence[StepTotals], failing: int | None, timings: Iterable[StepTime], sign: int = 1) -> None:
    """Count an image that has ended, or uncount it (`sign` -1); `failing` is the operation that it failed in."""
    passed = len(steps) if failing is None else min(failing, len(steps) - 1)
    for step in steps[:passed]:
        step.done += sign
    if failing is not None and steps:
        steps[passed].failed += sign
    for timing in timings:
        if timing.step < len(steps):
            steps[timing.step].wait_secs += sign * timing.wait
            steps[timing.step].work_secs += sign * timing.work


class JobCounters:
    """The changing columns of a job's row, while a transaction has locked it."""

    def __init__(self, row: Row) -> None:
        self.row = row
        """The row as it was read."""
        self.number: int = row["number"]
        self.state = JobState(row["state"])
        self.run: int = row["run"]
        self.started_at: float | None = row["started_at"]
        self.finished_at: float | None = row["finished_at"]
        self.counts: dict[ImageState, int] = {state: row[state.value] for state in ImageState}
        self.failures_seen: int = row["failures_seen"]
        self.done_steps = read_step_totals(row["steps_of_done"])
        self.failed_steps = read_step_totals(row["steps_of_failed"])
        self.retry_floor: int = row["retry_floor"]
        self.arrived_failed: Counter[str] = Counter(json.loads(row["arrived_failed"]))
        """Images that had failed before the job started, by code; counted in `totals` once the job is accepted."""
        self.ended: Counter[str] = Counter()
        """Images that end in this transaction: `done`, `cancelled`, and the codes of failures."""
        self.has_ended = False
        """Whether the job ends in this transaction."""

    def columns(self) -> dict[str, Any]:
        """Return the columns as they are now."""
        return {
            "state": self.state.value,
            "run": self.run,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "total": sum(self.counts.values()),
            **{state.value: count for state, count in self.counts.items()},
            "failures_seen": self.failures_seen,
            "steps_of_done": write_step_totals(self.done_steps),
            "steps_of_failed": write_step_totals(self.failed_steps),
            "retry_floor": self.retry_floor,
            "arrived_failed": json.dumps(self.arrived_failed),
        }

    @property
    def is_open(self) -> bool:
        """Whether the job is accepted or running."""
        return self.state in OPEN_JOB_STATES

    def move(self, before: ImageState, after: ImageState, count: int = 1) -> None:
        """Move images from one state to another."""
        self.counts[before] -= count
        self.counts[after] += count

    def count_failure(self, failing: int, timings: Iterable[StepTime]) -> int:
        """Count an image that failed in operation `failing`; return the number of its failure."""
        count_image(self.failed_steps, failing, timings)
        self.failures_seen += 1
        return self.failures_seen

    def start(self) -> None:
        """Set an accepted job to running."""
        if self.state is JobState.ACCEPTED:
            self.state = JobState.RUNNING
            self.started_at = time.time()

    def end(self, state: JobState) -> None:
        """Set the job to a terminal state."""
        self.state = state
        self.finished_at = time.time()
        self.has_ended = True

    def accept(self) -> None:
        """Set a receiving job to accepted; images that had failed before count as ended now."""
        self.state = JobState.ACCEPTED
        self.ended, self.arrived_failed = self.arrived_failed, Counter()
        self.end_if_complete()

    def end_if_complete(self) -> bool:
        """Set the job to a terminal state if all images have ended; return whether it was."""
        if not self.is_open or any(self.counts[state] for state in OPEN_IMAGE_STATES):
            return False
        if not self.counts[ImageState.FAILED]:
            self.end(JobState.SUCCEEDED)
        elif self.counts[ImageState.DONE]:
            self.end(JobState.PARTIAL)
        else:
            self.end(JobState.FAILED)
        return True

    def cancel(self) -> None:
        """Cancel the job and all images that have not ended."""
        for state in OPEN_IMAGE_STATES:
            self.ended[ImageState.CANCELLED.value] += self.counts[state]
            self.move(state, ImageState.CANCELLED, self.counts[state])
        self.end(JobState.CANCELLED)

    def reopen(self, retried: int) -> None:
        """Set `retried` failed images to pending, in a new run. The caller uncounts them in the steps."""
        self.move(ImageState.FAILED, ImageState.PENDING, retried)
        self.state = JobState.RUNNING
        self.run += 1
        self.finished_at = None
        if self.started_at is None:
            self.started_at = time.time()


def lock_job(connection: Connection, job: str) -> JobCounters | None:
    """Lock a job's row until the transaction ends, whatever its state, and return its counters."""
    return lock_jobs(connection, [job]).get(job)


def lock_jobs(connection: Connection, ids: Iterable[str]) -> dict[str, JobCounters]:
    """Lock several jobs' rows; jobs that don't exist are left out."""
    rows = connection.execute(_LOCK, {"ids": list(ids)}).mappings().all()
    return {row["id"]: JobCounters(row) for row in rows}


def save(connection: Connection, counters: JobCounters) -> Job:
    """Write a job's counters, and its webhook event if it has ended; return the job as it is now."""
    columns = counters.columns()
    connection.execute(_UPDATE, {"job_number": counters.number, **columns})
    job = job_of({**counters.row, **columns})
    if counters.has_ended:
        add_webhook_event(connection, job, counters.number)
    return job

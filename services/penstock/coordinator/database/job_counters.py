"""JobCounters: a locked job's images by state, and what each operation of its plan has done."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from penstock.common.model.errors import ImageCode
from penstock.common.model.jobs import OPEN_IMAGE_STATES, OPEN_JOB_STATES, ImageState, JobState
from penstock.common.model.messages import StepTime
from penstock.common.model.plan import Layout
from penstock.coordinator.database.outbox import add_webhook_event
from penstock.coordinator.database.rows import Row, job_of, read_step_totals, write_step_totals
from penstock.coordinator.database.schema import jobs
from penstock.coordinator.ports.repository import Job, StepTotals, StoredPlan
from penstock.coordinator.ports.throughput import Throughput

_MAX_CODE, _MAX_CODES = 60, 50
"""Characters of an error code, and codes of a job. A custom step may send any; beyond these, they count as internal."""

# In the order of ids, so that two writers can't deadlock. (SQLite has one writer and ignores FOR UPDATE.)
_LOCK = select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True))).order_by(jobs.c.id).with_for_update()
_UPDATE = update(jobs).where(jobs.c.number == bindparam("job_number"))


def count_image(
    steps: Sequence[StepTotals],
    path: Iterable[int],
    failing: int | None,
    timings: Iterable[StepTime],
    sign: int = 1,
) -> None:
    """Count an image that has ended, or uncount it (`sign` -1).

    `path` are the operations that it passes, `failing` is the one that it failed in.
    """
    passed = len(steps) if failing is None else min(failing, len(steps) - 1)
    for index in path:
        if index < passed:
            steps[index].done += sign
    if failing is not None and steps:
        steps[passed].failed += sign
    for timing in timings:
        if timing.step < len(steps):
            steps[timing.step].wait_secs += sign * timing.wait
            steps[timing.step].work_secs += sign * timing.work


class Failed(NamedTuple):
    """The columns of an image that has failed."""

    failure_number: int
    error_code: str
    error_retry: bool


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
        self.final_steps = read_step_totals(row["steps_of_final"]) or [StepTotals() for _ in self.done_steps]
        self.retry_floor: int = row["retry_floor"]
        self.retry_final: bool = row["retry_final"]
        self.failures: dict[str, list[int]] = json.loads(row["failures"])
        """Failed images by code: how many, and how many of them a retry may help."""
        self.expires_at: float | None = row["expires_at"]
        self.result_bytes: int = row["result_bytes"]
        self.open_groups: int = row["open_groups"]
        self.waiting_groups: int = row["waiting_groups"]
        self.run_started_at: float | None = row["run_started_at"]
        self.worked_secs: float = row["worked_secs"]
        self._throughput: str | Throughput = row["throughput"]
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
            "steps_of_final": write_step_totals(self.final_steps),
            "retry_floor": self.retry_floor,
            "retry_final": self.retry_final,
            "failures": json.dumps({code: counts for code, counts in self.failures.items() if counts[0] > 0}),
            "run_started_at": self.run_started_at,
            "worked_secs": self.worked_secs,
            "throughput": self._throughput if isinstance(self._throughput, str) else self._throughput.to_text(),
            "arrived_failed": json.dumps(self.arrived_failed),
            "expires_at": self.expires_at,
            "result_bytes": self.result_bytes,
            "open_groups": self.open_groups,
            "waiting_groups": self.waiting_groups,
        }

    @property
    def is_open(self) -> bool:
        """Whether the job is accepted or running."""
        return self.state in OPEN_JOB_STATES

    def move(self, before: ImageState, after: ImageState, count: int = 1) -> None:
        """Move images from one state to another."""
        self.counts[before] -= count
        self.counts[after] += count

    @cached_property
    def layout(self) -> Layout:
        """Which operations each image passes, and which images are groups."""
        return StoredPlan(json.loads(self.row["plan"])).layout

    def count_done(self, image: int, timings: Iterable[StepTime]) -> None:
        """Count what the operations of its plan have done for an image."""
        count_image(self.done_steps, self.layout.path(image), None, timings)

    def uncount_done(self, image: int, timings: Iterable[StepTime], result_bytes: int) -> None:
        """Undo `count_done` of a group that is to run again."""
        count_image(self.done_steps, self.layout.path(image), None, timings, sign=-1)
        self.result_bytes -= result_bytes

    def count_failure(self, image: int, error: Mapping[str, Any], failing: int, timings: Iterable[StepTime]) -> Failed:
        """Count an image that failed in operation `failing`; return what its row has to say."""
        retry = bool(error.get("retry"))
        steps = self.failed_steps if retry else self.final_steps
        count_image(steps, self.layout.path(image), failing, timings)
        self.failures_seen += 1
        code = str(error.get("code") or ImageCode.INTERNAL.value)[:_MAX_CODE].replace("\0", "\ufffd")
        if code not in self.failures and len(self.failures) >= _MAX_CODES:
            code = ImageCode.INTERNAL.value
        counts = self.failures.setdefault(code, [0, 0])
        counts[0] += 1
        counts[1] += retry
        return Failed(self.failures_seen, code, retry)

    def uncount_failure(
        self, image: int, code: str | None, retry: bool | None, failing: int, timings: Iterable[StepTime]
    ) -> None:
        """Undo `count_failure` of an image that is retried; an image that an older version failed has no code."""
        steps = self.final_steps if retry is False else self.failed_steps
        count_image(steps, self.layout.path(image), failing, timings, sign=-1)
        if code in self.failures:
            self.failures[code][0] -= 1
            self.failures[code][1] -= bool(retry)

    def uncount_failures(self, *, final: bool) -> int:
        """Undo `count_failure` of all images, or without `final` of those that a retry may help; return how many."""
        left = 0
        for code, (images, retryable) in [*self.failures.items()]:
            self.failures[code] = [0, 0] if final else [images - retryable, 0]
            left += self.failures[code][0]
        self.failed_steps = [StepTotals() for _ in self.failed_steps]
        if final:
            self.final_steps = [StepTotals() for _ in self.final_steps]
        return self.counts[ImageState.FAILED] - left

    def count_ended(self, done: int, failed: int) -> None:
        """Count images that have ended now in the job's throughput."""
        if isinstance(self._throughput, str):
            self._throughput = Throughput.from_text(self._throughput)
        self._throughput.add(self._seconds_worked(time.time()), done, failed)

    def _seconds_worked(self, at: float) -> float:
        return self.worked_secs + (0.0 if self.run_started_at is None else max(0.0, at - self.run_started_at))

    def start(self) -> None:
        """Set an accepted job to running, and note when its run takes its first images."""
        now = time.time()
        if self.state is JobState.ACCEPTED:
            self.state = JobState.RUNNING
            self.started_at = now
        if self.run_started_at is None:
            self.run_started_at = now

    def end(self, state: JobState) -> None:
        """Set the job to a terminal state."""
        self.state = state
        self.finished_at = time.time()
        if (kept_secs := self.row["expire_after_secs"]) is not None:
            self.expires_at = self.finished_at + kept_secs
        self.worked_secs = self._seconds_worked(self.finished_at)
        self.run_started_at = None
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
        self.open_groups = self.waiting_groups = 0
        self.end(JobState.CANCELLED)

    def reopen(self, retried: int) -> None:
        """Set `retried` failed images to pending, in a new run. The caller uncounts them in the steps."""
        self.move(ImageState.FAILED, ImageState.PENDING, retried)
        self.state = JobState.RUNNING
        self.run += 1
        self.finished_at = self.expires_at = None
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

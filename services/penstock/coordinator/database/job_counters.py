"""JobCounters: a job's images by state, and what each operation of its plan has done."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping

from penstock.common.model.jobs import OPEN_IMAGE_STATES, OPEN_JOB_STATES, ImageState, JobState
from penstock.common.model.messages import StepTime
from penstock.coordinator.ports.repository import StepTotals


def read_step_totals(text: str) -> list[StepTotals]:
    """Return what `write_step_totals` wrote."""
    return [StepTotals(*values) for values in json.loads(text)]


def write_step_totals(steps: Iterable[StepTotals]) -> str:
    """Return step totals as text for the database."""
    return json.dumps([[step.done, step.failed, step.wait_secs, step.work_secs] for step in steps])


def add_step_totals(one: Sequence[StepTotals], other: Sequence[StepTotals]) -> list[StepTotals]:
    """Return the sums, operation by operation."""
    return [
        StepTotals(a.done + b.done, a.failed + b.failed, a.wait_secs + b.wait_secs, a.work_secs + b.work_secs)
        for a, b in zip(one, other, strict=True)
    ]


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


@dataclass
class JobCounters:
    """The changing columns of a job's row, while a transaction has locked it."""

    row: RowMapping
    """The row as it was read."""
    number: int
    state: JobState
    run: int
    started_at: float | None
    finished_at: float | None
    counts: dict[ImageState, int]
    failures_seen: int
    done_steps: list[StepTotals]
    failed_steps: list[StepTotals]
    retry_floor: int
    arrived_failed: Counter[str]
    """Images that had failed before the job started, by code; counted in `totals` once the job is accepted."""
    ended: Counter[str] = field(default_factory=Counter)
    """Images that end in this transaction: `done`, `cancelled`, and the codes of failures."""
    has_ended: bool = False
    """Whether the job ends in this transaction."""

    @classmethod
    def of(cls, row: RowMapping) -> JobCounters:
        """Return the counters of a row of `jobs`."""
        return cls(
            row=row,
            number=row["number"],
            state=JobState(row["state"]),
            run=row["run"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            counts={state: row[state.value] for state in ImageState},
            failures_seen=row["failures_seen"],
            done_steps=read_step_totals(row["steps_of_done"]),
            failed_steps=read_step_totals(row["steps_of_failed"]),
            retry_floor=row["retry_floor"],
            arrived_failed=Counter(json.loads(row["arrived_failed"])),
        )

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

    def count_done(self, timings: Iterable[StepTime]) -> None:
        """Count an image that completed the plan."""
        count_image(self.done_steps, None, timings)

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

"""A job's books: how many of its images are in which state, and what each operation of its plan has done."""

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


@dataclass
class Tally:
    """One operation: images that left it, as done or as failed, and their seconds."""

    done: int = 0
    failed: int = 0
    wait_secs: float = 0.0
    work_secs: float = 0.0


def read_tallies(text: str) -> list[Tally]:
    """Return what `write_tallies` wrote."""
    return [Tally(*values) for values in json.loads(text)]


def write_tallies(tallies: Iterable[Tally]) -> str:
    """Return tallies as text for the database."""
    return json.dumps([[tally.done, tally.failed, tally.wait_secs, tally.work_secs] for tally in tallies])


def add_tallies(one: Sequence[Tally], other: Sequence[Tally]) -> list[StepTotals]:
    """Return the totals over both, operation by operation."""
    return [
        StepTotals(a.done + b.done, a.failed + b.failed, a.wait_secs + b.wait_secs, a.work_secs + b.work_secs)
        for a, b in zip(one, other, strict=True)
    ]


def count_image(tallies: Sequence[Tally], failing: int | None, timings: Iterable[StepTime], sign: int = 1) -> None:
    """Add one terminal image (or take it back, `sign` -1); `failing` is the index of the operation it failed in."""
    passed = len(tallies) if failing is None else min(failing, len(tallies) - 1)
    for tally in tallies[:passed]:
        tally.done += sign
    if failing is not None and tallies:
        tallies[passed].failed += sign
    for timing in timings:
        if timing.step < len(tallies):
            tallies[timing.step].wait_secs += sign * timing.wait
            tallies[timing.step].work_secs += sign * timing.work


@dataclass
class JobCounters:
    """What changes in a job's row, held while a transaction has the row locked."""

    row: RowMapping
    """The row as it was found."""
    number: int
    state: JobState
    run: int
    started_at: float | None
    finished_at: float | None
    counts: dict[ImageState, int]
    failures_seen: int
    of_done: list[Tally]
    of_failed: list[Tally]
    retry_floor: int
    arrived_failed: Counter[str]
    """Images that came failed, by code, until the job is accepted."""
    ended: Counter[str] = field(default_factory=Counter)
    """Images that end in this transaction: `done`, `cancelled`, and each code of those that fail."""
    has_ended: bool = False
    """Whether the job ends in this transaction."""

    @classmethod
    def of(cls, row: RowMapping) -> JobCounters:
        """Open the books of a row of `jobs`."""
        return cls(
            row=row,
            number=row["number"],
            state=JobState(row["state"]),
            run=row["run"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            counts={state: row[state.value] for state in ImageState},
            failures_seen=row["failures_seen"],
            of_done=read_tallies(row["steps_of_done"]),
            of_failed=read_tallies(row["steps_of_failed"]),
            retry_floor=row["retry_floor"],
            arrived_failed=Counter(json.loads(row["arrived_failed"])),
        )

    def columns(self) -> dict[str, Any]:
        """Return the columns of `jobs` as they are now."""
        return {
            "state": self.state.value,
            "run": self.run,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "total": sum(self.counts.values()),
            **{state.value: count for state, count in self.counts.items()},
            "failures_seen": self.failures_seen,
            "steps_of_done": write_tallies(self.of_done),
            "steps_of_failed": write_tallies(self.of_failed),
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
        """Add an image that went through the whole plan to the step totals."""
        count_image(self.of_done, None, timings)

    def count_failure(self, failing: int, timings: Iterable[StepTime]) -> int:
        """Add an image that failed in operation `failing` to the step totals; return the number of its failure."""
        count_image(self.of_failed, failing, timings)
        self.failures_seen += 1
        return self.failures_seen

    def start(self) -> None:
        """Make an accepted job running."""
        if self.state is JobState.ACCEPTED:
            self.state = JobState.RUNNING
            self.started_at = time.time()

    def end(self, state: JobState) -> None:
        """Make the job terminal."""
        self.state = state
        self.finished_at = time.time()
        self.has_ended = True

    def accept(self) -> None:
        """Make a receiving job accepted; those of its images that came failed have ended."""
        self.state = JobState.ACCEPTED
        self.ended, self.arrived_failed = self.arrived_failed, Counter()
        self.end_if_nothing_is_left()

    def end_if_nothing_is_left(self) -> bool:
        """Make the job terminal where every image is; return whether it became so."""
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
        """Make the job and every image that isn't terminal cancelled."""
        for state in OPEN_IMAGE_STATES:
            self.ended[ImageState.CANCELLED.value] += self.counts[state]
            self.move(state, ImageState.CANCELLED, self.counts[state])
        self.end(JobState.CANCELLED)

    def reopen(self, retried: int) -> None:
        """Make `retried` failed images pending again, in a new run. Their step totals are the caller's to take back."""
        self.move(ImageState.FAILED, ImageState.PENDING, retried)
        self.state = JobState.RUNNING
        self.run += 1
        self.finished_at = None
        if self.started_at is None:
            self.started_at = time.time()

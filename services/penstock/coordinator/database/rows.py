"""Rows: turns rows into jobs and images.

An image's state is the one in its row, unless its job's row overrides it. Two changes may affect a million images and
still have to be visible at once, so they are made in the job's row, in one small transaction:

- cancel: images of a cancelled job that aren't done or failed are cancelled. Their rows never change.
- retry of all failed images: failures up to the job's `retry_floor` are pending. Their rows are updated in pages.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeAlias

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, RowMapping

from penstock.common.model.jobs import OPEN_IMAGE_STATES, ImageState, JobState
from penstock.common.model.messages import Result, StepTime
from penstock.coordinator.database.schema import images
from penstock.coordinator.ports.repository import Image, Job, StepTotals, StoredPlan

_RESULTS = TypeAdapter(list[Result])
_TIMINGS = TypeAdapter(list[StepTime])

_CONVERTED = {"state", "plan", "document", "labels", "steps"}
PLAIN_COLUMNS = [field.name for field in fields(Job) if field.name not in _CONVERTED]
"""Columns of `jobs` that are fields of a job as they are."""

Row: TypeAlias = RowMapping | dict[str, Any]
"""Columns by name."""


def write_results(results: list[Result]) -> str | None:
    """Return results as text for the database; None if there are none."""
    return _RESULTS.dump_json(results).decode() if results else None


def write_timings(timings: list[StepTime]) -> str | None:
    """Return timings as text for the database; None if there are none."""
    return _TIMINGS.dump_json(timings).decode() if timings else None


def read_timings(text: str | None) -> list[StepTime]:
    """Return what `write_timings` wrote."""
    return _TIMINGS.validate_json(text) if text else []


def read_step_totals(text: str) -> list[StepTotals]:
    """Return what `write_step_totals` wrote."""
    return [StepTotals(*values) for values in json.loads(text)]


def write_step_totals(steps: Iterable[StepTotals]) -> str:
    """Return step totals as text for the database."""
    return json.dumps([[step.done, step.failed, step.wait_secs, step.work_secs] for step in steps])


def _add_step_totals(one: Sequence[StepTotals], other: Sequence[StepTotals]) -> list[StepTotals]:
    """Return the sums, operation by operation."""
    return [
        StepTotals(a.done + b.done, a.failed + b.failed, a.wait_secs + b.wait_secs, a.work_secs + b.work_secs)
        for a, b in zip(one, other, strict=True)
    ]


def job_of(row: Row) -> Job:
    """Return the job of a row of `jobs`."""
    return Job(
        **{name: row[name] for name in PLAIN_COLUMNS},
        state=JobState(row["state"]),
        plan=StoredPlan(json.loads(row["plan"])),
        document=json.loads(row["document"]),
        labels=json.loads(row["labels"]),
        steps=_add_step_totals(read_step_totals(row["steps_of_done"]), read_step_totals(row["steps_of_failed"])),
    )


@dataclass(frozen=True)
class StateOverlay:
    """What a job's row overrides of the states in its images' rows."""

    number: int
    cancelled: bool
    retry_floor: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the overlay of a row of `jobs`."""
        return cls(row["number"], row["state"] == JobState.CANCELLED, row["retry_floor"])

    def state(self, stored: str, failure_number: int | None) -> ImageState:
        """Return the state of an image by its row's `state` and `failure_number`."""
        state = ImageState(stored)
        if state is ImageState.FAILED and failure_number is not None and failure_number <= self.retry_floor:
            state = ImageState.PENDING
        return ImageState.CANCELLED if self.cancelled and state in OPEN_IMAGE_STATES else state

    def conditions(self, state: ImageState) -> list[ColumnElement[bool]]:
        """Return conditions on rows, one of which holds for every image in a state; each can use an index."""
        if self.cancelled and state in OPEN_IMAGE_STATES:
            return []
        if state is ImageState.CANCELLED:
            return [term for open_state in OPEN_IMAGE_STATES for term in self._stored(open_state)] * self.cancelled
        return self._stored(state)

    def _stored(self, state: ImageState) -> list[ColumnElement[bool]]:
        is_stored = images.c.state == state.value
        if not self.retry_floor or state not in (ImageState.PENDING, ImageState.FAILED):
            return [is_stored]
        if state is ImageState.FAILED:
            return [is_stored & (images.c.failure_number > self.retry_floor)]
        is_retried = images.c.state == ImageState.FAILED.value
        return [is_stored, is_retried & (images.c.failure_number <= self.retry_floor)]

    def image(self, row: Row) -> Image:
        """Return the image of a row of `images`."""
        state = self.state(row["state"], row["failure_number"])
        failed = state is ImageState.FAILED
        return Image(
            id=row["id"],
            name=row["name"],
            stem=row["stem"],
            ref=row["ref"],
            state=state,
            size=row["size"],
            attempts=row["attempts"],
            results=_RESULTS.validate_json(row["results"]) if row["results"] else [],
            error=json.loads(row["error"]) if failed and row["error"] else None,
            failure_number=row["failure_number"] if failed else None,
            timings=read_timings(row["timings"]),
            resume_step=row["resume_step"],
            resume_blob=row["resume_blob"],
            resume_parts=row["resume_parts"],
            regions=row["regions"],
        )

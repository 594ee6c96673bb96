"""Rows: turns rows into jobs and images.

An image's state is the one in its row, unless its job's row overrides it. Two changes may affect a million images and
still have to be visible at once, so they are made in the job's row, in one small transaction:

- cancel: images of a cancelled job that aren't done or failed are cancelled. Their rows never change.
- retry of all failed images: failures up to the job's `retry_floor` are pending. Their rows are updated in pages.
  Those that a retry does not help ("final") are left out, unless `retry_final` is set.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeAlias

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, RowMapping, func, not_, true

from penstock.common.model.jobs import OPEN_IMAGE_STATES, ImageState, JobState
from penstock.common.model.messages import Result, StepTime
from penstock.coordinator.database.schema import images
from penstock.coordinator.ports.repository import FailureCount, Image, Job, StepTotals, StoredPlan
from penstock.coordinator.ports.throughput import Throughput

_RESULTS = TypeAdapter(list[Result])
_TIMINGS = TypeAdapter(list[StepTime])

_CONVERTED = {"state", "plan", "document", "labels", "steps", "failures", "throughput"}
STEP_TOTALS = ("steps_of_done", "steps_of_failed", "steps_of_final")
PLAIN_COLUMNS = [field.name for field in fields(Job) if field.name not in _CONVERTED]
"""Columns of `jobs` that are fields of a job as they are."""

WAITING = "waiting"
"""The state in the row of a group that waits for its images. People see it as pending."""

Row: TypeAlias = RowMapping | dict[str, Any]
"""Columns by name."""


def write_results(results: list[Result]) -> str | None:
    """Return results as text for the database; None if there are none."""
    return _RESULTS.dump_json(results).decode() if results else None


def read_results(text: str | None) -> list[Result]:
    """Return what `write_results` wrote."""
    return _RESULTS.validate_json(text) if text else []


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


def _sum_step_totals(parts: Iterable[Sequence[StepTotals]]) -> list[StepTotals]:
    """Return the sums, operation by operation. A part of an older version is empty."""
    return [
        StepTotals(
            sum(step.done for step in steps),
            sum(step.failed for step in steps),
            sum(step.wait_secs for step in steps),
            sum(step.work_secs for step in steps),
        )
        for steps in zip(*filter(None, parts), strict=True)
    ]


def _failure_counts(failures: dict[str, list[int]]) -> list[FailureCount]:
    counts = [FailureCount(code, *numbers) for code, numbers in failures.items()]
    return sorted(counts, key=lambda each: (-each.images, each.code))


def job_of(row: Row) -> Job:
    """Return the job of a row of `jobs`."""
    return Job(
        **{name: row[name] for name in PLAIN_COLUMNS},
        state=JobState(row["state"]),
        plan=StoredPlan(json.loads(row["plan"])),
        document=json.loads(row["document"]),
        labels=json.loads(row["labels"]),
        failures=_failure_counts(json.loads(row["failures"])),
        throughput=Throughput.from_text(row["throughput"]),
        steps=_sum_step_totals(read_step_totals(row[name]) for name in STEP_TOTALS),
    )


MAY_RETRY = func.coalesce(images.c.error_retry, true())
"""Whether a retry may help a failed image; so it is for those of older versions."""


@dataclass(frozen=True)
class StateOverlay:
    """What a job's row overrides of the states in its images' rows."""

    number: int
    cancelled: bool
    retry_floor: int
    retry_final: bool
    packed: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the overlay of a row of `jobs`."""
        return cls(
            row["number"], row["state"] == JobState.CANCELLED, row["retry_floor"], row["retry_final"], row["packed"]
        )

    def state(self, stored: str, failure_number: int | None, error_retry: bool | None) -> ImageState:
        """Return the state of an image by its row's `state`, `failure_number` and `error_retry`."""
        state = ImageState.PENDING if stored == WAITING else ImageState(stored)
        is_below = failure_number is not None and failure_number <= self.retry_floor
        if state is ImageState.FAILED and is_below and (self.retry_final or error_retry is not False):
            state = ImageState.PENDING
        return ImageState.CANCELLED if self.cancelled and state in OPEN_IMAGE_STATES else state

    @property
    def state_of_packed(self) -> ImageState:
        """The state of images that are packed."""
        return self.state(ImageState.PENDING.value, None, None)

    def conditions(self, state: ImageState) -> list[ColumnElement[bool]]:
        """Return conditions on rows, one of which holds for every image in a state; each can use an index."""
        if self.cancelled and state in OPEN_IMAGE_STATES:
            return []
        if state is ImageState.CANCELLED:
            return [
                term for open_state in OPEN_IMAGE_STATES for term in self._with_waiting(open_state)
            ] * self.cancelled
        return self._with_waiting(state)

    def dispatchable(self) -> list[ColumnElement[bool]]:
        """Return conditions as for pending images, without groups that wait."""
        return [] if self.cancelled else self._stored(ImageState.PENDING)

    def _with_waiting(self, state: ImageState) -> list[ColumnElement[bool]]:
        return [*self._stored(state), images.c.state == WAITING] if state is ImageState.PENDING else self._stored(state)

    def _stored(self, state: ImageState) -> list[ColumnElement[bool]]:
        is_stored = images.c.state == state.value
        if not self.retry_floor or state not in (ImageState.PENDING, ImageState.FAILED):
            return [is_stored]
        is_retried = images.c.failure_number <= self.retry_floor
        if not self.retry_final:
            is_retried &= MAY_RETRY
        if state is ImageState.FAILED:
            return [is_stored & not_(is_retried)]
        return [is_stored, (images.c.state == ImageState.FAILED.value) & is_retried]

    def image(self, row: Row) -> Image:
        """Return the image of a row of `images`."""
        state = self.state(row["state"], row["failure_number"], row["error_retry"])
        failed, results = state is ImageState.FAILED, read_results(row["results"])
        return Image(
            id=row["id"],
            name=row["name"],
            stem=row["stem"],
            ref=row["ref"],
            state=state,
            size=row["size"],
            attempts=row["attempts"],
            results=results if state is ImageState.DONE else [],
            error=json.loads(row["error"]) if failed and row["error"] else None,
            failure_number=row["failure_number"] if failed else None,
            timings=read_timings(row["timings"]),
            resume_step=row["resume_step"],
            resume_blob=row["resume_blob"],
            resume_parts=row["resume_parts"],
            regions=row["regions"],
            labels=row["labels"],
            group=row["group_id"],
            waits_for=row["waits_for"],
            stale_results=[] if state is ImageState.DONE else results,
        )

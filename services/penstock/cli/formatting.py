"""Formatting of jobs, steps and operations as text: tables, and the lines about a job's outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.common.model.rest import Advice, Image, Job, Notice, Operation, Step, WebhookSummary

MAX_FAILURES = 20
"""Failures of a job that are printed."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an aligned table, numbers to the right, without control characters."""
    cells = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(_is_number(cell) for cell in column[1:]) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )


def printable(value: object) -> str:
    """Return a value as text without control characters, which could move the cursor or change colours."""
    text = "–" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def format_jobs(jobs: Sequence[Job]) -> str:
    """Return jobs as a table."""
    rows = [
        (job.id, job.state, images.done, images.failed, images.total, _format_time(job.created_at), job.name)
        for job in jobs
        for images in [job.images]
    ]
    return table(("ID", "STATE", "DONE", "FAILED", "IMAGES", "CREATED", "NAME"), rows)


def format_job(job: Job, url: str) -> str:
    """Return a job with its operations, times and steps; `url` is where it is on the server."""
    counts = ", ".join(f"{count} {state}" for state, count in job.images if count and state != "total")
    lines = [
        f"job {job.id} {printable(job.name)}".rstrip(),
        url,
        " → ".join(map(_format_operation, job.operations)),
        _format_times(job),
        f"{job.state}: {counts or 'no images'}",
    ]
    if speed := format_job_speed(job):
        lines.append(speed)
    rows = [
        (step.step, step.waiting, step.running, step.done, step.failed, f"{step.work_seconds:.1f}", mark)
        for step in job.steps
        for mark in ["bottleneck" if step.step == job.bottleneck else ""]
    ]
    return "\n".join([*lines, table(("STEP", "WAITING", "RUNNING", "DONE", "FAILED", "SECONDS", ""), rows)])


def _format_operation(operation: dict[str, Any]) -> str:
    values = ", ".join(
        f"{name} {value}"
        for name, value in operation.items()
        if name != "op" and value is not None and not isinstance(value, bool)
    )
    return printable(f"{operation.get('op')} {values}".rstrip())


def _format_times(job: Job) -> str:
    times = (("created", job.created_at), ("started", job.started_at), ("finished", job.finished_at))
    return ", ".join(f"{name} {_format_time(time)}" for name, time in times if time is not None)


def format_job_speed(job: Job) -> str:
    """Return a job's images per second and time left; nothing if they are unknown."""
    if not job.images_per_second:
        return "" if job.eta_seconds is None else f"{job.eta_seconds:.0f} s left"
    return format_speed(job.images_per_second, job.eta_seconds)


def format_speed(images_per_second: float, eta_secs: float | None) -> str:
    """Return images per second, and the time left if it is known."""
    return f"{images_per_second:.1f} images/s" + ("" if eta_secs is None else f", {eta_secs:.0f} s left")


def format_webhook(webhook: WebhookSummary | None, notices: Sequence[Notice]) -> list[str]:
    """Return a line about a job's newest webhook event and its attempts; nothing without a webhook."""
    if webhook is None:
        return []
    if not notices:
        return [printable(f"webhook {webhook.receiver}: will be called when the job ends")]
    last = notices[0]
    parts = [last.state.replace("_", " ")]
    if last.next_at is not None:
        parts.append(f"next at {_format_time(last.next_at)}")
    if last.deliveries:
        attempt = last.deliveries[-1]
        count = len(last.deliveries)
        parts.append(f"{count} attempt{'s' * (count > 1)}, the last at {_format_time(attempt.at)}")
        parts += [attempt.error] if attempt.error else []
    return [printable(f"webhook {webhook.receiver}: {'; '.join(parts)}")]


def format_outcome(job: Job) -> str:
    """Return a job's state, counts and duration in one line."""
    images = job.images
    parts = [f"{images.done} done", f"{images.failed} failed"]
    if images.cancelled:
        parts.append(f"{images.cancelled} cancelled")
    took = ""
    if job.started_at and job.finished_at:
        took = f" in {(job.finished_at - job.started_at).total_seconds():.1f} s"
    return f"job {job.id} {job.state}: {', '.join(parts)}{took}"


def format_failures(failures: Sequence[Image], total: int) -> list[str]:
    """Return a line for each failed image, and one for those of `total` that are not among them."""
    lines = [
        printable(f"  {image.name}: {image.error.code}: {image.error.message}") for image in failures if image.error
    ]
    return lines if total <= len(failures) else [*lines, f"  … and {total - len(failures)} more"]


def format_steps(steps: Sequence[Step], advice: Advice | None = None) -> str:
    """Return steps as a table with the bottleneck marked, followed by advice and its command."""
    rows = [
        (
            step.name,
            step.workers if step.replicas.desired is None else f"{step.workers} of {step.replicas.desired}",
            step.ready,
            step.in_flight,
            step.remaining,
            _format_number(step.seconds_per_image, ".3f"),
            _format_number(step.backlog_seconds, ".1f"),
            _format_number(step.utilisation, ".0%"),
            "bottleneck" if step.bottleneck else "",
        )
        for step in steps
    ]
    head = ("STEP", "WORKERS", "READY", "IN FLIGHT", "REMAINING", "S/IMAGE", "BACKLOG S", "BUSY", "")
    lines = [] if advice is None else ["", *(printable(text) for text in (advice.sentence, advice.command) if text)]
    return "\n".join([table(head, rows), *lines])


def format_operations(operations: Sequence[Operation]) -> str:
    """Return operations as a table, with an example of each in the syntax of `--op`."""
    rows = [(operation.name, _example(operation), operation.description.split("\n")[0]) for operation in operations]
    return table(("OPERATION", "EXAMPLE", ""), rows)


def _example(operation: Operation) -> str:
    short = (operation.example or {}).get("short") or [operation.name]
    return f"--op {operation.name}" + (f"={short[1]}" if len(short) > 1 and short[1] is not True else "")


def _format_number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _format_time(time: datetime | None) -> str:
    return "" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _is_number(text: str) -> bool:
    return text == "–" or text.removesuffix("%").replace(".", "", 1).isdigit()

"""Formatting of jobs, steps and operations as text: tables, and the lines about a job's outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.common.model.errors import format_bytes

if TYPE_CHECKING:
    from penstock.common.model.rest import (
        Advice,
        Image,
        Job,
        JobForecast,
        Notice,
        Operation,
        Step,
        Usage,
        WebhookSummary,
    )

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
        (
            job.id,
            job.state,
            images.done,
            images.failed,
            images.total,
            format_bytes(job.upload_bytes + job.result_bytes),
            _format_time(job.created_at),
            _format_time(job.expires_at),
            job.name,
        )
        for job in jobs
        for images in [job.images]
    ]
    return table(("ID", "STATE", "DONE", "FAILED", "IMAGES", "STORED", "CREATED", "EXPIRES", "NAME"), rows)


def format_job(job: Job, url: str) -> str:
    """Return a job with its operations, times and steps; `url` is where it is on the server."""
    counts = ", ".join(f"{count} {state}" for state, count in job.images if count and state != "total")
    lines = [
        f"job {job.id} {printable(job.name)}".rstrip(),
        url,
        " → ".join(map(_format_operation, job.operations)),
        *(
            f"{printable(output.name)} ({output.done} done): {' → '.join(map(_format_operation, output.operations))}"
            for output in job.outputs
        ),
        _format_times(job),
        f"{job.state}: {counts or 'no images'}",
    ]
    lines += [*_format_stored(job), *format_skipped(job)]
    if job.waiting_for:
        lines.append(printable(f"waiting for: {job.waiting_for}"))
    if speed := format_job_speed(job):
        lines.append(speed)
    lines += format_deadline(job)
    rows = [
        (
            f"{step.output}: {step.step}" if step.output else step.step,
            step.waiting,
            step.running,
            step.done,
            step.failed,
            f"{step.work_seconds:.1f}",
            mark,
        )
        for step in job.steps
        for mark in ["bottleneck" if step.step == job.bottleneck else ""]
    ]
    return "\n".join([*lines, table(("STEP", "WAITING", "RUNNING", "DONE", "FAILED", "SECONDS", ""), rows)])


def _format_stored(job: Job) -> list[str]:
    """Return a line about what the server stores of a job, and one about when it is deleted."""
    lines = []
    if job.upload_bytes or job.result_bytes:
        sizes = f"{format_bytes(job.upload_bytes)} of uploads, {format_bytes(job.result_bytes)} of results"
        lines.append(f"stored: {sizes}")
    if job.expires_at is not None:
        lines.append(f"expires {_format_time(job.expires_at)}")
    elif job.expire_after_seconds is not None:
        lines.append(f"expires {timedelta(seconds=job.expire_after_seconds)} after its end")
    return lines


def format_usage(usage: Usage) -> str:
    """Return what is stored of each owner, and in all."""
    rows = [
        (
            name,
            each.jobs,
            format_bytes(each.upload_bytes),
            format_bytes(each.result_bytes),
            None if each.max_bytes is None else format_bytes(each.max_bytes),
            _format_time(each.next_expires_at),
        )
        for name, each in [
            *((each.owner, each) for each in usage.owners),
            *([("all", usage.total)] if usage.total else []),
        ]
    ]
    return table(("OWNER", "JOBS", "UPLOADS", "RESULTS", "ALLOWED", "NEXT EXPIRY"), rows)


def format_skipped(job: Job) -> list[str]:
    """Return a line about what was left out of a job; nothing if all was an image."""
    if not job.skipped.count:
        return []
    from penstock.common.folders import describe_skipped

    first = [(file.name, file.reason) for file in job.skipped.first]
    return [printable(f"{job.skipped.count} skipped: {describe_skipped(first, job.skipped.count)}")]


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


def format_deadline(job: Job) -> list[str]:
    """Return a line about a job's deadline or highest price, and what the server expects; nothing without either."""
    if job.deadline is None and job.max_price is None:
        return []
    parts = [] if job.deadline is None else [f"deadline {_format_time(job.deadline)}"]
    parts += [] if job.max_price is None else [f"highest price {job.max_price:g}"]
    if job.finished_at is not None and job.deadline is not None:
        parts.append("met" if job.finished_at <= job.deadline else "missed")
    elif job.forecast is not None:
        parts += _format_forecast(job.forecast)
    return [printable("; ".join(parts))]


def _format_forecast(forecast: JobForecast) -> list[str]:
    if forecast.feasible is None:
        return ["not predicted yet"]
    parts = [] if forecast.finishes_at is None else [f"expected {_format_time(forecast.finishes_at)}"]
    parts += [] if forecast.feasible else ["not possible"]
    if forecast.replicas:
        parts.append("replicas " + ", ".join(f"{step} {count}" for step, count in forecast.replicas.items()))
    return parts if forecast.price is None else [*parts, f"price {forecast.price:.2g}"]


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
            _remark(step),
        )
        for step in steps
    ]
    head = ("STEP", "WORKERS", "READY", "IN FLIGHT", "REMAINING", "S/IMAGE", "BACKLOG S", "BUSY", "")
    lines = [] if advice is None else ["", *(printable(text) for text in (advice.sentence, advice.command) if text)]
    return "\n".join([table(head, rows), *lines])


def _remark(step: Step) -> str:
    waiting = f"{step.waiting_workers} waiting for: {step.waiting_for}" if step.waiting_for else ""
    return ", ".join(filter(None, ["bottleneck" if step.bottleneck else "", waiting]))


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

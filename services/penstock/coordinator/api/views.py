"""Views: database rows as REST models."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from penstock.common.model import rest
from penstock.common.model.errors import help_for
from penstock.common.model.jobs import TERMINAL_JOB_STATES
from penstock.common.model.messages import Result
from penstock.common.model.operations import DECODE
from penstock.common.model.plan import split_operations
from penstock.coordinator.intake.bounds import view_outlook
from penstock.coordinator.ports.links import deliveries_url, job_url, result_url, sent_url, static_url
from penstock.coordinator.ports.repository import SKIPPED, FailureCount, Image, Job, StepTotals
from penstock.coordinator.ports.scheduler import Forecast, Scheduler

_USUAL_DECODE = {"op": DECODE}


def summarise(job: Job) -> rest.JobSummary:
    """Return a job as an entry of a list."""
    return rest.JobSummary(**_summary(job))


def view_job(job: Job, scheduler: Scheduler) -> rest.Job:
    """Return a job with its plan and current progress: its row's counters combined with its images in flight."""
    progress = scheduler.progress(job.id)
    ended = job.state in TERMINAL_JOB_STATES
    expected = Forecast() if ended else scheduler.forecast(job)
    steps = _step_progress(job, progress.positions, expected)
    rate = _average_rate(job) if ended else progress.images_per_second
    return rest.Job(
        **_summary(job),
        priority=job.priority,
        weight=job.weight,
        source=job.document.get("source"),
        chunk_size=job.chunk_size,
        on_failure=job.on_failure,
        run=job.run,
        expire_after_seconds=job.expire_after_secs,
        steps=steps,
        images_per_second=rate,
        eta_seconds=expected.eta_secs,
        bottleneck=expected.bottleneck,
        deadline=None if job.deadline is None else as_datetime(job.deadline),
        max_price=job.max_price,
        forecast=view_outlook(expected.outlook),
        waiting_for=None if ended else progress.waiting_for,
        throughput=rest.Throughput(
            interval_seconds=job.throughput.interval_secs, done=job.throughput.done, failed=job.throughput.failed
        ),
        skipped=rest.Skipped.model_validate(job.document.get(SKIPPED, {})),
        webhook=_webhook(job),
        links=_links(job.id),
    )


# Images and results are plain dicts: through the models a page of a thousand would take four times as long. A test
# compares the dicts with the models.


def view_image(job: Job, image: Image) -> dict[str, Any]:
    """Return an image of a job in the form of `rest.Image`."""
    return {
        "id": image.id,
        "name": image.name,
        "state": image.state,
        "size": image.size,
        "attempts": image.attempts,
        "sent": "" if image.is_group else sent_url(job.id, image.name),
        "results": [view_result(job.id, image.id, result) for result in image.results],
        "error": {name: image.error.get(name) for name in rest.ImageError.model_fields} if image.error else None,
        "steps": [
            {"step": job.plan.steps[time.step], "wait_seconds": time.wait, "work_seconds": time.work}
            for time in image.timings
            if time.step < len(job.plan.steps)
        ],
        **_group(image),
    }


def _group(image: Image) -> dict[str, Any]:
    """Return the group that an image is in, or that it is one, in jobs with groups."""
    if image.is_group:
        return {"is_group": True}
    return {} if image.group is None else {"group": image.group}


def view_result(job: str, image: int, result: Result) -> dict[str, Any]:
    """Return an entry of the manifest in the form of `rest.Result`."""
    return {
        "image": image,
        "name": result.name,
        "size": result.size,
        "media_type": result.media_type,
        "width": result.width,
        "height": result.height,
        "sha256": result.sha256,
        "url": result_url(job, result.name),
        "location": result.key if "://" in result.key else None,
        **_findings(result),
    }


def _findings(result: Result) -> dict[str, Any]:
    """Return a result's regions, warnings and place, where it has any."""
    if not (result.regions or result.warnings or result.place):
        return {}
    return result.model_dump(mode="json", include={"regions", "warnings", "place"})


def as_datetime(seconds: float) -> datetime:
    """Return a time in seconds since the epoch as a datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _summary(job: Job) -> dict[str, Any]:
    shared, own = split_operations(job.plan.operations)
    return {
        "id": job.id,
        "url": job_url(job.id),
        "state": job.state,
        "owner": job.owner or None,
        "name": job.name,
        "labels": job.labels,
        "created_at": as_datetime(job.created_at),
        "started_at": None if job.started_at is None else as_datetime(job.started_at),
        "finished_at": None if job.finished_at is None else as_datetime(job.finished_at),
        "worked_seconds": None if job.started_at is None else job.seconds_worked(time.time()),
        "expires_at": None if job.expires_at is None else as_datetime(job.expires_at),
        "upload_bytes": job.upload_bytes,
        "result_bytes": job.result_bytes,
        "failures": [_failure_group(each) for each in job.failures],
        "operations": [operation for operation in shared if operation != _USUAL_DECODE],
        "outputs": [*_outputs(job, own)],
        "images": rest.Counts(**{name: getattr(job, name) for name in rest.Counts.model_fields}),
    }


def _outputs(job: Job, own: Sequence[list[dict[str, Any]]]) -> Iterator[rest.JobOutput]:
    """Yield a job's outputs, each with its own operations."""
    for branch, operations in zip(job.plan.layout.branches, own, strict=True):
        done = job.steps[branch.end - 1].done if job.steps else 0
        yield rest.JobOutput(name=branch.name, operations=operations, done=done)


def _failure_group(failures: FailureCount) -> rest.FailureGroup:
    return rest.FailureGroup(**vars(failures), help=help_for(failures.code, retry=failures.retryable > 0))


def _webhook(job: Job) -> rest.WebhookSummary | None:
    if job.webhook_url is None:
        return None
    parts = urlsplit(job.webhook_url)
    return rest.WebhookSummary(receiver=f"{parts.scheme}://{parts.netloc}", deliveries=deliveries_url(job.id))


def _links(job: str) -> dict[str, str]:
    url = job_url(job)
    return {
        "self": url,
        "images": f"{url}/images",
        "results": f"{url}/results",
        "archive": f"{url}/results.zip",
        "events": f"{url}/events",
        "static": static_url(job),
    }


def _step_progress(job: Job, live: Sequence[tuple[int, int]], expected: Forecast) -> list[rest.StepProgress]:
    count = len(job.plan.steps)
    in_flight = list(live) or [(0, 0)] * count
    totals = job.steps or [StepTotals()] * count
    layout = job.plan.layout
    branches = [layout.branch_at(index) for index in range(count)]
    pending, gathered_at = {0: job.pending}, layout.gather.start if layout.gather else None
    if layout.gather:
        groups = max(0, job.open_groups - sum(map(sum, in_flight[layout.gather.start :])))
        pending = {0: max(0, job.pending - groups), layout.gather.start: groups}
    return [
        rest.StepProgress(
            step=step,
            output=branch.name if branch else None,
            joined=index > 0
            and not (branch and branch.start == index)
            and _is_joined(job.plan.steps[index - 1], step, total, expected),
            waiting=waiting + pending.get(index, 0),
            running=running,
            done=total.done + _count_later(in_flight, index, branch.end if branch else gathered_at),
            failed=total.failed,
            wait_seconds=total.wait_secs,
            work_seconds=total.work_secs,
        )
        for index, (step, (waiting, running), total, branch) in enumerate(
            zip(job.plan.steps, in_flight, totals, branches, strict=True)
        )
    ]


def _count_later(in_flight: Sequence[tuple[int, int]], index: int, end: int | None) -> int:
    """Count the images at later operations: they have passed this one, but the row counts them only when they end."""
    return sum(waiting + running for waiting, running in in_flight[index + 1 : end])


def _is_joined(before: str, step: str, total: StepTotals, expected: Forecast) -> bool:
    """Return whether the same workers do two operations in a row: images did not wait, or workers are known to."""
    if total.done + total.failed and total.work_secs:
        return total.wait_secs == 0
    return any(before in pool and step in pool for pool in expected.pools)


def _average_rate(job: Job) -> float | None:
    return job.done / job.worked_secs if job.worked_secs > 0 else None

"""Views: database rows as REST models."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

from penstock.common.model import rest
from penstock.common.model.jobs import TERMINAL_JOB_STATES
from penstock.common.model.messages import Result
from penstock.common.model.operations import DECODE
from penstock.coordinator.ports.links import deliveries_url, job_url, result_url, sent_url, static_url
from penstock.coordinator.ports.repository import Image, Job, StepTotals
from penstock.coordinator.ports.scheduler import Forecast, Scheduler

_USUAL_DECODE = {"op": DECODE}


def summarise(job: Job) -> rest.JobSummary:
    """Return a job as an entry of a list."""
    return rest.JobSummary(**_summary(job))


def view_job(job: Job, scheduler: Scheduler) -> rest.Job:
    """Return a job with its plan and current progress: its row's counters combined with its images in flight."""
    progress = scheduler.progress(job.id)
    steps = _step_progress(job, progress.positions)
    ended = job.state in TERMINAL_JOB_STATES
    expected = Forecast() if ended else scheduler.forecast(job)
    rate = _average_rate(job) if ended else progress.images_per_second
    return rest.Job(
        **_summary(job),
        priority=job.priority,
        weight=job.weight,
        chunk_size=job.chunk_size,
        on_failure=job.on_failure,
        run=job.run,
        steps=steps,
        images_per_second=rate,
        eta_seconds=expected.eta_secs,
        bottleneck=expected.bottleneck,
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
        "sent": sent_url(job.id, image.name),
        "results": [view_result(job.id, image.id, result) for result in image.results],
        "error": {name: image.error.get(name) for name in rest.ImageError.model_fields} if image.error else None,
        "steps": [
            {"step": job.plan.steps[time.step], "wait_seconds": time.wait, "work_seconds": time.work}
            for time in image.timings
            if time.step < len(job.plan.steps)
        ],
    }


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
    """Return a result's regions and warnings, where it has any."""
    if not result.regions and not result.warnings:
        return {}
    return result.model_dump(mode="json", include={"regions", "warnings"})


def as_datetime(seconds: float) -> datetime:
    """Return a time in seconds since the epoch as a datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _summary(job: Job) -> dict[str, Any]:
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
        "operations": [operation for operation in job.plan.operations if operation != _USUAL_DECODE],
        "images": rest.Counts(**{name: getattr(job, name) for name in rest.Counts.model_fields}),
    }


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


def _step_progress(job: Job, live: Sequence[tuple[int, int]]) -> list[rest.StepProgress]:
    count = len(job.plan.steps)
    in_flight = list(live) or [(0, 0)] * count
    totals = job.steps or [StepTotals()] * count
    # Images at a later operation have passed this one, but the row counts them only when they end.
    later = [0, *accumulate(waiting + running for waiting, running in reversed(in_flight))][-2::-1]
    return [
        rest.StepProgress(
            step=step,
            waiting=waiting + (job.pending if index == 0 else 0),
            running=running,
            done=total.done + passed,
            failed=total.failed,
            wait_seconds=total.wait_secs,
            work_seconds=total.work_secs,
        )
        for index, (step, (waiting, running), total, passed) in enumerate(
            zip(job.plan.steps, in_flight, totals, later, strict=True)
        )
    ]


def _average_rate(job: Job) -> float | None:
    if job.started_at is None or job.finished_at is None or job.finished_at <= job.started_at:
        return None
    return job.done / (job.finished_at - job.started_at)

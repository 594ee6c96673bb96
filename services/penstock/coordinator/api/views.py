"""Views: database rows as REST models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from penstock.common.model import rest
from penstock.common.model.messages import Result
from penstock.coordinator.api.job_progress import job_progress
from penstock.coordinator.ports.links import deliveries_url, job_url, result_url, sent_url, static_url
from penstock.coordinator.ports.repository import Image, Job
from penstock.coordinator.ports.scheduler import Scheduler


def summarise(job: Job) -> rest.JobSummary:
    """Return a job as an entry of a list."""
    return rest.JobSummary(**_summary(job))


def view_job(job: Job, scheduler: Scheduler) -> rest.Job:
    """Return a job with its plan and current progress."""
    return rest.Job(
        **_summary(job),
        operations=job.plan.document(),
        priority=job.priority,
        weight=job.weight,
        chunk_size=job.chunk_size,
        on_failure=job.on_failure,
        run=job.run,
        **vars(job_progress(job, scheduler)),
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
    }


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

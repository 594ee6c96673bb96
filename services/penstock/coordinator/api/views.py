"""Jobs, images and results as customers see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from penstock.common.model.jobs import TERMINAL_JOB_STATES, ImageState, JobState
from penstock.common.model.messages import Result
from penstock.coordinator.api.job_progress import Progress, StepProgress
from penstock.coordinator.ports.links import deliveries_url, job_url, result_url, sent_url, static_url
from penstock.coordinator.ports.repository import Image, Job


class Counts(BaseModel):
    """Images of a job by state."""

    total: int
    pending: int
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int


class Links(BaseModel):
    """Where everything of a job is."""

    self: str
    images: str
    results: str
    archive: str
    events: str
    static: str


class JobSummary(BaseModel):
    """A job in a list. `owner` is the name of the API key that sent it; null where none was asked for."""

    id: str
    url: str
    state: JobState
    owner: str | None
    name: str
    labels: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    images: Counts


class WebhookView(BaseModel):
    """Who is told when a job has ended: scheme and host of its URL. `deliveries` says what has become of it."""

    receiver: str
    deliveries: str


class JobView(JobSummary):
    """A job, with its progress. `run` counts its retries; `bottleneck` is the step that holds it back."""

    operations: list[dict[str, Any]]
    priority: int
    weight: int
    chunk_size: int | None
    on_failure: str
    run: int
    steps: list[StepProgress]
    images_per_second: float | None
    eta_seconds: float | None
    bottleneck: str | None
    webhook: WebhookView | None
    links: Links


class JobPage(BaseModel):
    """Jobs, newest first. `cursor` and `next` lead to the following page; null on the last."""

    jobs: list[JobSummary]
    cursor: str | None
    next: str | None


class ErrorView(BaseModel):
    """Why an image failed. `retry` says whether trying again may help."""

    code: str
    message: str
    step: str
    retry: bool


class TimingView(BaseModel):
    """Seconds that an image waited for and was worked on in one operation of its plan."""

    step: str
    wait_seconds: float
    work_seconds: float


class ResultView(BaseModel):
    """One file that an image became."""

    image: int
    name: str
    size: int
    media_type: str
    width: int
    height: int
    sha256: str
    url: str
    location: str | None
    """Where it lies in a bucket of the customer's."""


class ImageView(BaseModel):
    """One image of a job."""

    id: int
    name: str
    state: ImageState
    size: int | None
    attempts: int
    sent: str
    results: list[ResultView]
    error: ErrorView | None
    steps: list[TimingView]


class ImagePage(BaseModel):
    """Images in the order they were sent. A page may hold fewer than `limit` and still not be the last."""

    images: list[ImageView]
    cursor: str | None
    next: str | None


class ResultPage(BaseModel):
    """Results in the order of their images."""

    results: list[ResultView]
    cursor: str | None
    next: str | None


def summarise(job: Job) -> JobSummary:
    """Return a job as a list shows it."""
    return JobSummary(**_summary(job))


def view_job(job: Job, progress: Progress) -> JobView:
    """Return a job as its own page shows it."""
    return JobView(
        **_summary(job),
        operations=job.plan,
        priority=job.priority,
        weight=job.weight,
        chunk_size=job.chunk_size,
        on_failure=job.on_failure,
        run=job.run,
        steps=progress.steps,
        images_per_second=progress.images_per_second,
        eta_seconds=progress.eta_seconds,
        bottleneck=progress.bottleneck,
        webhook=_webhook(job),
        links=_links(job.id),
    )


# Pages of a thousand images are built as plain dicts: through the models, which describe them, it takes four times
# as long. A test holds the two together.


def view_image(job: Job, image: Image) -> dict[str, Any]:
    """Return an image of a job, as `ImageView` describes it."""
    return {
        "id": image.id,
        "name": image.name,
        "state": image.state,
        "size": image.size,
        "attempts": image.attempts,
        "sent": sent_url(job.id, image.name),
        "results": [view_result(job.id, image.id, result) for result in image.results],
        "error": {name: image.error.get(name) for name in ErrorView.model_fields} if image.error else None,
        "steps": [
            {"step": job.plan[time.step]["op"], "wait_seconds": time.wait, "work_seconds": time.work}
            for time in image.timings
            if time.step < len(job.plan)
        ],
    }


def view_result(job: str, image: int, result: Result) -> dict[str, Any]:
    """Return an entry of the manifest, as `ResultView` describes it."""
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


def counts(job: Job) -> Counts:
    """Return a job's images by state."""
    return Counts(**{name: getattr(job, name) for name in Counts.model_fields})


def has_ended(job: Job) -> bool:
    """Say whether a job is in a state that it doesn't leave by itself."""
    return job.state in TERMINAL_JOB_STATES


def _summary(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "url": job_url(job.id),
        "state": job.state,
        "owner": job.owner or None,
        "name": job.name,
        "labels": job.labels,
        "created_at": _moment(job.created_at),
        "started_at": _moment(job.started_at),
        "finished_at": _moment(job.finished_at),
        "images": counts(job),
    }


def _webhook(job: Job) -> WebhookView | None:
    if job.webhook_url is None:
        return None
    parts = urlsplit(job.webhook_url)
    return WebhookView(receiver=f"{parts.scheme}://{parts.netloc}", deliveries=deliveries_url(job.id))


def _links(job: str) -> Links:
    url = job_url(job)
    return Links(
        self=url,
        images=f"{url}/images",
        results=f"{url}/results",
        archive=f"{url}/results.zip",
        events=f"{url}/events",
        static=static_url(job),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

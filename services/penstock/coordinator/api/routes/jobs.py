"""`/v1/jobs`: submitting, listing, looking at, cancelling, retrying and deleting jobs."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from penstock.common.model import rest
from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import JobState
from penstock.coordinator.api.openapi_examples import JOB_BODY, RETRY_BODY
from penstock.coordinator.api.paging import Cursor, Limit, read_job_cursor, write_cursor
from penstock.coordinator.api.routes.common import (
    IntakeDep,
    ServicesDep,
    find_job,
    media_type,
    refusals,
    unsupported_body,
)
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.submission import Submission, receive_form
from penstock.coordinator.api.views import summarise, view_job
from penstock.coordinator.auth.access import CallerDep
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.form_upload import FormUpload
from penstock.coordinator.intake.job_requests import read_json
from penstock.coordinator.intake.job_service import JobService
from penstock.coordinator.intake.request_bodies import BufferedBody, receive
from penstock.coordinator.ports.links import page_url
from penstock.coordinator.ports.refusals import conflict, invalid_document, not_found
from penstock.coordinator.ports.repository import ConflictError, ImageNotFailedError, JobNotFoundError

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

ListedState = Annotated[
    JobState | None, Query(description="accepted, running, succeeded, partial, failed or cancelled")
]


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    openapi_extra=JOB_BODY,
    responses={
        200: {"model": rest.Job | rest.Estimate, "description": "The job of an equal request before, or a dry run"},
        202: {"model": rest.Job, "description": "Accepted"},
        **refusals(400, 403, 408, 409, 413, 415, 422, 429),
    },
)
async def submit_job(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    intake: IntakeDep,
    dry_run: Annotated[bool, Query(description="Validate and estimate; create nothing")] = False,
    idempotency_key: Annotated[
        str | None, Header(description="Makes sending again safe: same key and request, same job")
    ] = None,
) -> Response:
    """Take a job: a JSON document with `inputs`, or a form with the document in `job` and pictures in `files`."""
    if idempotency_key is not None and not re.fullmatch(r"[!-~]{1,255}", idempotency_key):
        raise RequestError(400, "invalid_idempotency_key", "accepted are 1 to 255 printable ASCII characters")
    submission = Submission(services, caller, intake, dry_run, idempotency_key)
    limits = services.limits
    kind = media_type(request)
    if kind == "application/json":
        return await receive(request, BufferedBody(submission.take_document), limits.max_field_bytes)
    if kind != "multipart/form-data":
        raise unsupported_body(kind, "application/json or multipart/form-data")
    upload = FormUpload(
        request.headers["content-type"],
        "job",
        services.store,
        limits,
        admit=None if dry_run else lambda: intake.admit(caller, idempotency_key),
        dry_run=dry_run,
        digest=idempotency_key is not None,
    )
    return await receive_form(request, upload, limits.max_upload_bytes, submission.take_form)


@router.get("", summary="List jobs", responses=refusals(400, 422))
def list_jobs(
    services: ServicesDep,
    caller: CallerDep,
    state: ListedState = None,
    label: Annotated[str | None, Query(max_length=320, examples=["city=delft"], description="key=value")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> rest.JobPage:
    """Return jobs, newest first."""
    if state is JobState.RECEIVING:
        raise RequestError(422, "invalid_parameter", "query parameter state: receiving is never shown")
    before = read_job_cursor(cursor)
    jobs = services.repository.list_jobs(caller.scope, state=state, label=_label(label), limit=limit + 1, before=before)
    following = write_cursor(jobs[limit - 1].id) if len(jobs) > limit else None
    return rest.JobPage(
        jobs=[summarise(job) for job in jobs[:limit]],
        cursor=following,
        next=following and page_url("/v1/jobs", state=state, label=label, limit=limit, cursor=following),
    )


@router.get("/{job}", summary="Look at a job", responses=refusals(404))
def show_job(job: str, services: ServicesDep, caller: CallerDep) -> rest.Job:
    """Return a job's state, counts, progress per step, speed and time left."""
    found = find_job(services.repository, job, caller)
    return view_job(found, services.engine)


@router.post("/{job}/cancel", status_code=202, summary="Cancel a job", responses=refusals(404, 409))
def cancel_job(job: str, services: ServicesDep, caller: CallerDep) -> rest.Job:
    """Stop a job within seconds; results made so far stay."""
    find_job(services.repository, job, caller)
    try:
        cancelled = services.engine.cancel(job)
    except ConflictError as error:
        raise conflict("job_ended", f"job {job} has ended already") from error
    except JobNotFoundError as error:
        raise not_found(f"job {job}") from error
    return view_job(cancelled, services.engine)


@router.post(
    "/{job}/retry",
    status_code=202,
    summary="Retry failed images",
    openapi_extra=RETRY_BODY,
    responses={202: {"model": rest.Retried}, **refusals(400, 404, 409, 413, 422, 429)},
)
async def retry_job(
    job: str, request: Request, services: ServicesDep, caller: CallerDep, intake: IntakeDep
) -> Response:
    """Try failed images again: from the step that failed where its input is still there, else from the start."""
    recipient = BufferedBody(lambda data: _retry(services, caller, intake, job, data))
    return await receive(request, recipient, max_bytes=services.limits.max_field_bytes)


@router.delete("/{job}", status_code=204, summary="Delete a job", responses=refusals(404, 409))
def delete_job(job: str, services: ServicesDep, caller: CallerDep) -> None:
    """Remove a job that has ended, its inputs and its results."""
    find_job(services.repository, job, caller)
    try:
        services.engine.delete(job)
    except ConflictError as error:
        raise conflict("job_open", f"job {job} has not ended; cancel it first") from error
    except JobNotFoundError as error:
        raise not_found(f"job {job}") from error


def _retry(services: Services, caller: Caller, intake: JobService, job: str, data: bytes) -> Response:
    found = find_job(services.repository, job, caller)
    images = _images_to_retry(data)
    try:
        retried, count = intake.retry(caller, found, images)
    except ConflictError as error:
        raise conflict("job_not_retryable", f"job {job} was cancelled or has not ended") from error
    except ImageNotFailedError as error:
        raise RequestError(422, "not_failed", f"image {error.image} of job {job} has not failed", "/images") from error
    except JobNotFoundError as error:
        raise not_found(f"job {job}") from error
    services.engine.wake()
    view = view_job(retried, services.engine)
    return JSONResponse(view.model_dump(mode="json") | {"retried": count}, 202)


def _images_to_retry(data: bytes) -> list[int] | None:
    if not data.strip():
        return None
    document: Any = read_json(data)
    try:
        return rest.RetryRequest.model_validate(document).images
    except ValidationError as error:
        raise invalid_document(error, document) from error


def _label(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RequestError(422, "invalid_parameter", f"query parameter label: {text[:60]!a} is not key=value")
    return key, value

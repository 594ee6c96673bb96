"""`/v1/jobs`: creates, lists, shows, cancels, retries and deletes jobs; shows their webhook deliveries."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from penstock.common.model import rest
from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import JobState
from penstock.coordinator.api.dependencies import (
    CallerDep,
    JobDep,
    JobId,
    JobServiceDep,
    ServicesDep,
    check_media_type,
    find_job,
)
from penstock.coordinator.api.openapi import JOB_BODY, RETRY_BODY, error_responses
from penstock.coordinator.api.paging import Cursor, Limit, next_page, read_job_cursor, write_cursor
from penstock.coordinator.api.request_body import MaxBytes, read_body, received_files
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.views import as_datetime, summarise, view_job
from penstock.coordinator.api.waiting import read_preferences, wait_for_end
from penstock.coordinator.auth.quotas import Caller, LongRequests
from penstock.coordinator.intake.form_upload import FormUpload
from penstock.coordinator.intake.job_requests import read_form_request, read_job_request, read_json
from penstock.coordinator.ports.links import job_url, jobs_url
from penstock.coordinator.ports.refusals import conflict, invalid_document
from penstock.coordinator.ports.repository import (
    ConflictError,
    ImageNotFailedError,
    Job,
    JobFilters,
    WebhookEvent,
    WebhookEventState,
)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Submitted = rest.Estimate | tuple[Job, bool]
"""What a submitted document becomes: an estimate for a dry run, or a job, and whether it is new."""

_IDEMPOTENCY_KEY = "^[!-~]{1,255}$"


async def _retry_request(request: Request, services: ServicesDep) -> rest.RetryRequest:
    data = await read_body(request, MaxBytes.of(services.limits, "max_field_bytes"), services.idle_secs)
    if not data.strip():
        return rest.RetryRequest()
    document = read_json(data)
    try:
        return rest.RetryRequest.model_validate(document, strict=True)
    except ValidationError as error:
        raise invalid_document(error, document, rest.RetryRequest) from error


async def _label(
    label: Annotated[
        str | None,
        Query(
            max_length=320,
            examples=["city=delft"],
            description="key=value",
            json_schema_extra={"pattern": "^[^=]+="},  # described only: below, the refusal says it in plain words
        ),
    ] = None,
) -> tuple[str, str] | None:
    if label is None:
        return None
    key, equals, value = label.partition("=")
    if not equals or not key:
        raise RequestError(422, "invalid_parameter", f"query parameter label: {label[:60]!a} is not key=value")
    return key, value


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    openapi_extra=JOB_BODY,
    responses={
        200: {
            "model": rest.Job | rest.Estimate,
            "description": "The job of an equal earlier request, a dry run, or a job that has ended meanwhile",
        },
        202: {"model": rest.Job, "description": "Accepted"},
        **error_responses(400, 403, 408, 409, 413, 415, 422, 429, 507),
    },
)
async def submit_job(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    job_service: JobServiceDep,
    dry_run: Annotated[bool, Query(description="Validate and estimate only")] = False,
    images: Annotated[
        int | None, Query(ge=1, description="For a dry run without inputs: the number of images that will be sent")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Makes the request safe to repeat: an equal one returns the same job",
            json_schema_extra={"pattern": _IDEMPOTENCY_KEY},
        ),
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=30`: respond when the job has ended, or after 30 seconds (RFC 7240)")
    ] = None,
) -> Response:
    """Create a job from a JSON document with `inputs`, or from a form with the document in `job` and `files`.

    With `Prefer: wait=30`, the response comes when the job has ended, `200`, or after 30 seconds, `202`.
    """
    if idempotency_key is not None and not re.fullmatch(_IDEMPOTENCY_KEY, idempotency_key):
        raise RequestError(
            400,
            "invalid_idempotency_key",
            f"Idempotency-Key {idempotency_key[:40]!a}; accepted are 1 to 255 printable ASCII characters",
        )
    preferences = read_preferences(prefer, services.limits.max_wait_secs)
    secs = None if dry_run else preferences.wait_secs

    def submit(form: FormUpload | None, data: bytes) -> Submitted:
        limits = services.limits
        requested = read_form_request(form.texts, limits) if form else read_job_request(read_json(data), limits)
        if dry_run and images and form is None:
            return job_service.estimate_sent(caller, requested, images)
        new_job = job_service.prepare(caller, requested, form)
        if dry_run:
            return job_service.estimate(new_job)
        [job], is_new = job_service.submit(caller, [new_job], idempotency_key)
        return job, is_new

    upload: dict[str, Any] = {
        "admit": None if dry_run else lambda: job_service.admit(caller, idempotency_key),
        "dry_run": dry_run,
        "digest": idempotency_key is not None,
    }
    waiting: LongRequests = request.app.state.waiting
    with waiting.hold(caller.owner) if secs else nullcontext():
        submitted = await _receive(request, services, caller, submit, upload)
        if isinstance(submitted, rest.Estimate):
            return JSONResponse(submitted.model_dump(mode="json"))
        job, is_new = submitted
        if secs and not job.has_ended:
            await wait_for_end(request, services, job.id, secs, lambda: _if_ended(find_job(job.id, services, caller)))
    view = await run_in_threadpool(_view, services, caller, job, as_it_is_now=bool(secs))
    status = 202 if (is_new if secs is None else not view.has_ended) else 200
    return JSONResponse(view.model_dump(mode="json"), status, {"Location": job_url(job.id), **preferences.headers()})


async def _receive(
    request: Request,
    services: Services,
    caller: Caller,
    submit: Callable[[FormUpload | None, bytes], Submitted],
    upload: dict[str, Any],
) -> Submitted:
    """Receive a document, or a form with arguments of `FormUpload`, and submit it."""
    limits = services.limits
    if check_media_type(request, "application/json", "multipart/form-data") == "application/json":
        data = await read_body(request, MaxBytes.of(limits, "max_field_bytes"), services.idle_secs)
        return await run_in_threadpool(submit, None, data)
    form = FormUpload(request.headers["content-type"], "job", services.store, limits, **upload)
    async with received_files(request, caller, form, MaxBytes.of(limits, "max_upload_bytes"), services.idle_secs):
        return await run_in_threadpool(submit, form, b"")


def _if_ended(job: Job) -> Job | None:
    return job if job.has_ended else None


def _view(services: Services, caller: Caller, job: Job, *, as_it_is_now: bool) -> rest.Job:
    return view_job(find_job(job.id, services, caller) if as_it_is_now else job, services.scheduler)


@router.get("", summary="List jobs", responses=error_responses(400, 422))
def list_jobs(
    services: ServicesDep,
    caller: CallerDep,
    label: Annotated[tuple[str, str] | None, Depends(_label)],
    state: Annotated[
        Literal["accepted", "running", "succeeded", "partial", "failed", "cancelled"] | None,
        Query(description="Only jobs in this state"),
    ] = None,
    search: Annotated[
        str, Query(max_length=200, description="a part of the name, in any case, or the beginning of the id")
    ] = "",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> rest.JobPage:
    """Return jobs, newest first; `total` counts those of all pages.

    Jobs of previews, thumbnails and `/v1/process`, which are deleted once they have ended, are found by `label` or
    `search` alone.
    """
    before = read_job_cursor(cursor)
    repository = services.repository
    filters: JobFilters = {"state": JobState(state) if state else None, "label": label, "search": search}
    jobs = repository.list_jobs(caller.scope, **filters, limit=limit + 1, before=before)
    total = repository.count_found_jobs(caller.scope, **filters)
    following = write_cursor(jobs[limit - 1].id) if len(jobs) > limit else None
    query = {"state": state, "label": label and "=".join(label), "search": search or None, "limit": limit}
    found = [summarise(job) for job in jobs[:limit]]
    return rest.JobPage(jobs=found, total=total, **next_page(following, jobs_url(), **query))


@router.get("/{job}", summary="Get a job", responses=error_responses(404))
def get_job(job: JobId, services: ServicesDep, caller: CallerDep) -> rest.Job:
    """Return a job's state, counts, progress in each step, rate and time left."""
    return view_job(find_job(job, services, caller), services.scheduler)


@router.post("/{job}/cancel", status_code=202, summary="Cancel a job", responses=error_responses(404, 409))
def cancel_job(job: JobDep, services: ServicesDep) -> rest.Job:
    """Cancel a job within seconds; the results so far stay."""
    try:
        return view_job(services.scheduler.cancel(job.id), services.scheduler)
    except ConflictError as error:
        raise conflict("job_ended", f"job {job.id} has ended already") from error


@router.post(
    "/{job}/retry",
    status_code=202,
    summary="Retry failed images",
    openapi_extra=RETRY_BODY,
    responses=error_responses(400, 404, 409, 413, 422, 429),
)
def retry_job(
    job: JobDep,
    wanted: Annotated[rest.RetryRequest, Depends(_retry_request)],
    services: ServicesDep,
    caller: CallerDep,
    job_service: JobServiceDep,
) -> rest.Retried:
    """Try failed images again: from the step that failed if its input is still stored, else from the beginning.

    Without a body these are the images whose error says `retry`; the others would fail again. `code` retries only the
    images with this error code.
    """
    try:
        retried, count = job_service.retry(caller, job, wanted.images, everything=wanted.all, code=wanted.code)
    except ConflictError as error:
        raise conflict("job_not_retryable", f"job {job.id} was cancelled or has not ended") from error
    except ImageNotFailedError as error:
        raise RequestError(
            422, "not_failed", f"image {error.image} of job {job.id} has not failed", "/images"
        ) from error
    return rest.Retried(**view_job(retried, services.scheduler).model_dump(), retried=count)


@router.delete("/{job}", status_code=204, summary="Delete a job", responses=error_responses(404, 409))
def delete_job(job: JobDep, services: ServicesDep) -> None:
    """Delete a job that has ended, with its input files and results."""
    try:
        services.scheduler.delete(job.id)
    except ConflictError as error:
        raise conflict("job_open", f"job {job.id} has not ended; cancel it first") from error


@router.get("/{job}/deliveries", summary="List webhook deliveries", responses=error_responses(404))
def list_deliveries(job: JobDep, services: ServicesDep) -> rest.NoticeList:
    """Return each end of the job with the attempts to deliver it to the webhook; empty without a webhook."""
    return rest.NoticeList(events=[_view_event(event) for event in services.repository.list_webhook_events(job.id)])


def _view_event(event: WebhookEvent) -> rest.Notice:
    return rest.Notice(
        id=event.id,
        run=event.run,
        job_state=event.summary["state"],
        state=event.state,
        next_at=as_datetime(event.due_at) if event.state is WebhookEventState.WAITING else None,
        deliveries=[
            rest.Delivery(at=as_datetime(attempt.at), seconds=attempt.secs, status=attempt.status, error=attempt.error)
            for attempt in event.deliveries
        ],
    )

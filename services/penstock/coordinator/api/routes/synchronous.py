"""`/v1/process`: runs operations on one image and returns the result in the response."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool

from penstock.common.model import rest
from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import TERMINAL_IMAGE_STATES
from penstock.common.sidecars import described_name
from penstock.coordinator.api.dependencies import CallerDep, JobServiceDep, ServicesDep
from penstock.coordinator.api.openapi import SYNCHRONOUS_CALL, SYNCHRONOUS_RESULT, error_responses
from penstock.coordinator.api.request_body import MaxBytes, receive_body
from penstock.coordinator.api.responses.processed import processed_response
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.transient_jobs import TransientJobs
from penstock.coordinator.api.views import view_job
from penstock.coordinator.api.waiting import read_preferences, wait_for_end
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.form_upload import FormUpload
from penstock.coordinator.intake.job_service import JobService
from penstock.coordinator.intake.query_options import QueryOptions, QueryReader
from penstock.coordinator.intake.received_files import BodyUpload
from penstock.coordinator.ports.links import job_url
from penstock.coordinator.ports.repository import Job

router = APIRouter(tags=["process"])


async def _passing_jobs(request: Request) -> AsyncIterator[list[Job]]:
    """Yield a list of jobs to delete once the response has been sent, or cannot be sent any more."""
    jobs: list[Job] = []
    try:
        yield jobs
    finally:
        transient_jobs: TransientJobs = request.app.state.transient_jobs
        for job in jobs:
            transient_jobs.delete_soon(job)


@router.post(
    "/v1/process",
    summary="Process one image and wait",
    openapi_extra=SYNCHRONOUS_CALL,
    response_class=Response,
    responses={
        200: SYNCHRONOUS_RESULT,
        202: {"model": rest.Job, "description": "It takes longer, and `Prefer: respond-async` allows this answer"},
        **error_responses(400, 403, 408, 413, 415, 422, 429, 500, 504, 507),
    },
)
async def process_image(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    job_service: JobServiceDep,
    passing_jobs: Annotated[list[Job], Depends(_passing_jobs)],
    prefer: Annotated[
        str | None, Header(description="`wait=10`: seconds to wait at most; `respond-async`: 202 after that, not 504")
    ] = None,
    accept: Annotated[
        str, Header(description="`multipart/mixed` or `application/zip` instead of the only result itself")
    ] = "",
) -> Response:
    """Run the operations of the query on the image in the body, and return its result.

    Several results come as a ZIP file. The job has the caller's highest priority and is deleted after the response.
    """
    preferences = read_preferences(prefer, services.limits.max_wait_secs)
    query_reader: QueryReader = request.app.state.query_reader
    options = query_reader.read(request.query_params.multi_items(), caller.max_priority)
    job_request = options.request
    if job_request.transient and not preferences.respond_async:  # then no answer tells of a job that goes on
        options = replace(options, request=replace(job_request, volatile=True))
    job = await _submit(request, services, caller, job_service, options)
    if options.request.transient:
        passing_jobs.append(job)
    headers = {"Penstock-Job": job.id, **preferences.headers()}

    def look() -> Response | None:
        image = services.scheduler.find_small(job.id)
        if image is None or image.state not in TERMINAL_IMAGE_STATES:
            return None
        return processed_response(services.store, job, image, accept, headers)

    wait_secs = services.limits.max_wait_secs if preferences.wait_secs is None else preferences.wait_secs
    ended = await run_in_threadpool(look) if job.has_ended else None
    response = ended or await wait_for_end(request, services, job.id, wait_secs, look)
    if response is not None:
        return response
    if not preferences.respond_async:
        setting = " (PENSTOCK_MAX_WAIT_SECS)" if wait_secs == services.limits.max_wait_secs else ""
        outcome = "cancelled" if options.request.transient else f"job {job.id} goes on and is kept"
        message = f"not done within {wait_secs:g} s{setting}; {outcome}; with Prefer: respond-async, the answer is 202"
        raise RequestError(504, "timeout", message)
    ended = await run_in_threadpool(_look_once_more, services, job, look)
    if ended is not None:
        return ended
    passing_jobs.clear()
    return await run_in_threadpool(_accepted, services, caller, job, headers)


async def _submit(
    request: Request, services: Services, caller: Caller, job_service: JobService, options: QueryOptions
) -> Job:
    """Receive the image and create its job."""
    limits, volatile = services.limits, options.request.volatile
    content_type = request.headers.get("content-type", "application/octet-stream")
    upload: FormUpload | BodyUpload
    if _is_form(content_type):
        upload = FormUpload(
            content_type, None, services.store, limits, admit=lambda: job_service.admit(caller), volatile=volatile
        )
    else:
        upload = BodyUpload(
            options.filename, services.store, limits, lambda: job_service.admit(caller), volatile=volatile
        )

    def submit() -> Job:
        images = sum(described_name(file.name) is None for file in upload.files)
        if images > 1:
            message = f"{images} images; accepted is one, and its regions: send several to /process or /v1/jobs"
            raise RequestError(422, "too_many_files", message, "/files")
        return job_service.submit_small(caller, job_service.prepare(caller, options.request, upload))

    return await receive_body(
        request, caller, _Submission(upload, submit), MaxBytes.of(limits, "max_upload_bytes"), services.idle_secs
    )


@dataclass
class _Submission:
    """Receives an image, and creates its job with the last byte: in one thread, because each switch takes time."""

    upload: FormUpload | BodyUpload
    submit: Callable[[], Job]

    def feed(self, data: bytes) -> None:
        self.upload.feed(data)

    def finish(self, data: bytes) -> Job:
        self.upload.finish(data)
        return self.submit()

    def abort(self) -> None:
        self.upload.abort()


def _is_form(content_type: str) -> bool:
    media_type = parse_options_header(content_type)[0].decode("latin-1")
    if media_type == "multipart/form-data":
        return True
    if not media_type.startswith("image/") and media_type != "application/octet-stream":
        message = (
            f"{media_type[:60]!a} is not accepted here; accepted is an image with its media type, such as image/jpeg, "
            "application/octet-stream, or multipart/form-data"
        )
        raise RequestError(415, "unsupported_media_type", message)
    return False


def _look_once_more(services: Services, job: Job, look: Callable[[], Response | None]) -> Response | None:
    """Return the response if the job has ended at the last moment; otherwise it is stored."""
    services.scheduler.store_small(job.id)
    return look()


def _accepted(services: Services, caller: Caller, job: Job, headers: dict[str, str]) -> Response:
    found = services.repository.get_job(job.id, caller.scope) or job
    view = view_job(found, services.scheduler).model_dump(mode="json")
    return JSONResponse(view, 202, {**headers, "Location": job_url(job.id)})

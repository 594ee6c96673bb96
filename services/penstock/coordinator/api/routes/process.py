"""`/process`: runs every action document on every file of a form."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from penstock.common.model.rest import Processed
from penstock.coordinator.api.dependencies import CallerDep, JobServiceDep, ServicesDep, check_media_type
from penstock.coordinator.api.openapi import PROCESS_BODY, error_responses
from penstock.coordinator.api.request_body import MaxBytes, received_files
from penstock.coordinator.intake.form_upload import FormUpload
from penstock.coordinator.intake.job_requests import read_actions
from penstock.coordinator.ports.links import job_url, static_url

router = APIRouter(tags=["process"])


@router.post(
    "/process",
    status_code=202,
    summary="Process images",
    openapi_extra=PROCESS_BODY,
    responses={
        202: {"model": Processed, "description": "Accepted"},
        **error_responses(400, 403, 408, 413, 415, 422, 429, 507),
    },
)
async def process_images(
    request: Request, services: ServicesDep, caller: CallerDep, job_service: JobServiceDep
) -> Response:
    """Create a job over all `files` for every document in `actions`; the files are stored once."""
    check_media_type(request, "multipart/form-data")

    def submit(form: FormUpload) -> Response:
        requests = read_actions(form.texts, services.limits)
        new_jobs = [
            job_service.prepare(caller, requested, form, f"/actions/{index}")
            for index, requested in enumerate(requests)
        ]
        jobs, _ = job_service.submit(caller, new_jobs)
        entries = [{"id": job.id, "url": job_url(job.id), "static": static_url(job.id)} for job in jobs]
        return JSONResponse({"jobs": entries}, 202)

    content_type = request.headers["content-type"]
    upload = FormUpload(
        content_type, "actions", services.store, services.limits, admit=lambda: job_service.admit(caller)
    )
    async with received_files(
        request, caller, upload, MaxBytes.of(services.limits, "max_upload_bytes"), services.idle_secs
    ) as form:
        return await run_in_threadpool(submit, form)

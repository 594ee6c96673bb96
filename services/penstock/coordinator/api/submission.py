"""Submission: from a received request to the response, for `/v1/jobs` and `/process`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from penstock.coordinator.api.services import Services
from penstock.coordinator.api.views import view_job
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.form_upload import FormUpload
from penstock.coordinator.intake.job_requests import read_actions, read_form_request, read_job_request, read_json
from penstock.coordinator.intake.job_service import JobService
from penstock.coordinator.intake.new_job import NewJob
from penstock.coordinator.intake.request_bodies import receive
from penstock.coordinator.ports.links import job_url, static_url


async def receive_form(
    request: Request, upload: FormUpload, max_bytes: int, take_form: Callable[[FormUpload], Response]
) -> Response:
    """Receive a form and return the response to it; its files go unless a job has kept them."""
    await receive(request, upload, max_bytes)
    try:
        return await run_in_threadpool(take_form, upload)
    finally:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(upload.close)


@dataclass(frozen=True)
class Submission:
    """One `POST /v1/jobs`. Methods run in threads."""

    services: Services
    caller: Caller
    jobs: JobService
    dry_run: bool
    key: str | None

    def take_document(self, data: bytes) -> Response:
        """Answer a JSON document with inputs."""
        request = read_job_request(read_json(data), self.services.limits)
        return self._answer(self.jobs.prepare(self.caller, request))

    def take_form(self, upload: FormUpload) -> Response:
        """Answer a form with the document in its field `job`, and files."""
        request = read_form_request(upload.texts, self.services.limits)
        return self._answer(self.jobs.prepare(self.caller, request, upload))

    def _answer(self, new_job: NewJob) -> Response:
        if self.dry_run:
            return JSONResponse(self.jobs.estimate(new_job).model_dump())
        [job], is_new = self.jobs.submit(self.caller, [new_job], self.key)
        view = view_job(job, self.services.engine)
        return JSONResponse(view.model_dump(mode="json"), 202 if is_new else 200, {"Location": job_url(job.id)})


@dataclass(frozen=True)
class Processing:
    """One `POST /process`: every action document × every file, the files stored once."""

    services: Services
    caller: Caller
    jobs: JobService

    def take_form(self, upload: FormUpload) -> Response:
        """Answer a form with `actions` and `files`."""
        requests = read_actions(upload.texts, self.services.limits)
        new_jobs = [
            self.jobs.prepare(self.caller, request, upload, f"/actions/{index}")
            for index, request in enumerate(requests)
        ]
        jobs, _ = self.jobs.submit(self.caller, new_jobs)
        entries = [{"id": job.id, "url": job_url(job.id), "static": static_url(job.id)} for job in jobs]
        return JSONResponse({"jobs": entries}, 202)

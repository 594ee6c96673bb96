"""What a customer submits, from the parsed request to the answer: jobs, or for a dry run what would become of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastapi.responses import JSONResponse, Response

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import ImageState
from penstock.common.model.rest import Estimate, StepEstimate
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.views import view_job
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.forms import Form
from penstock.coordinator.intake.input_resolver import find_inputs
from penstock.coordinator.intake.job_requests import JobRequest, read_actions, read_json, read_order
from penstock.coordinator.intake.job_service import (
    Idempotency,
    JobService,
    bounded,
    check_files,
    draft_job,
    fingerprint,
    found_images,
    no_images,
    sent_images,
)
from penstock.coordinator.intake.request_bodies import FormUpload
from penstock.coordinator.intake.upload_inputs import find_upload, uploaded_files
from penstock.coordinator.ports.links import job_url, static_url
from penstock.coordinator.ports.repository import Image, StoredPlan


@dataclass(frozen=True)
class Submission:
    """One `POST /v1/jobs`: its options, and the two ways in which the job can come. Methods run in threads."""

    services: Services
    caller: Caller
    intake: JobService
    dry_run: bool
    key: str | None

    def admit(self) -> None:
        """Refuse early, before an upload, where no job fits any more; a request sent again may have its job already."""
        if not self.dry_run and not (self.key and self.intake.knows(self.key)):
            self.intake.admit()

    def take_document(self, data: bytes) -> Response:
        """Answer a JSON document whose pictures are given by reference."""
        order = read_order(read_json(data), self.services.limits)
        if not order.document.inputs:
            raise no_images()
        services = self.services
        order.check_results(services.sources)
        order.check_webhook(services.webhooks)
        upload = find_upload(services.repository, order.document.inputs, self.caller.scope)
        if upload is not None:
            files = uploaded_files(services.repository, upload, services.limits)
        else:
            files = find_inputs(order.document.inputs, services.input_root, services.sources, services.limits)
        images = found_images(order, files, services.limits)
        return self._answer(order, images, upload, lambda: None, fingerprint)

    def take_form(self, form: Form, reception: FormUpload[Response]) -> Response:
        """Answer a form with the document in its field `job`, and files."""
        order = self._only_order(form)
        check_files(form.files)
        images = sent_images(order, form.files, reception.upload)
        return self._answer(
            order, images, reception.upload, reception.keep, lambda order: fingerprint(order, form.files)
        )

    def _only_order(self, form: Form) -> JobRequest:
        if len(form.texts) != 1:
            raise RequestError(
                422, "no_job", f"{len(form.texts)} fields job; accepted is one, with the job document", "/job"
            )
        order = read_order(read_json(form.texts[0]), self.services.limits)
        if order.document.inputs:
            raise RequestError(
                422, "inputs_and_files", "inputs and files cannot come together; send two jobs", "/inputs"
            )
        order.check_results(self.services.sources)
        order.check_webhook(self.services.webhooks)
        return order

    def _answer(
        self,
        order: JobRequest,
        images: Iterable[Image],
        upload: str | None,
        created: Callable[[], None],
        digest: Callable[[JobRequest], str],
    ) -> Response:
        if self.dry_run:
            most = self.services.limits.max_images
            return JSONResponse(self._estimate(order, bounded(images, most)).model_dump())
        if self.key is None:
            job, new = self.intake.accept([draft_job(order, images, upload)], created)[0], True
        else:
            idempotency = Idempotency(self.key, digest(order))
            job, new = self.intake.accept_once(draft_job(order, images, upload, idempotency), idempotency, created)
        view = view_job(job, self.services.engine)
        return JSONResponse(view.model_dump(mode="json"), 202 if new else 200, {"Location": job_url(job.id)})

    def _estimate(self, order: JobRequest, images: Iterable[Image]) -> Estimate:
        total = failing = 0
        for image in images:
            total += 1
            failing += image.state is ImageState.FAILED
        if total == 0:
            raise no_images()
        good = total - failing
        plan = StoredPlan.read(order.plan.document())
        return Estimate(
            operations=plan.document(),
            images=total,
            failing=failing,
            results_per_image=order.plan.parts,
            results=good * order.plan.parts,
            steps=[
                StepEstimate(step=step, seconds_per_image=secs, seconds=None if secs is None else secs * good)
                for step, secs in zip(order.plan.steps, self.services.engine.seconds_of(plan), strict=True)
            ],
        )


@dataclass(frozen=True)
class Processing:
    """One `POST /process`: every action document × every file, the files stored once."""

    services: Services
    intake: JobService

    def take_form(self, form: Form, reception: FormUpload[Response]) -> Response:
        """Answer a form with `actions` and `files`."""
        orders = read_actions(form.texts, self.services.limits)
        for index, order in enumerate(orders):
            order.check_results(self.services.sources, f"/actions/{index}/results")
            order.check_webhook(self.services.webhooks, f"/actions/{index}/webhook")
        check_files(form.files)
        drafts = [
            draft_job(order, sent_images(order, form.files, reception.upload), reception.upload) for order in orders
        ]
        jobs = self.intake.accept(drafts, reception.keep)
        entries = [{"id": job.id, "url": job_url(job.id), "static": static_url(job.id)} for job in jobs]
        return JSONResponse({"jobs": entries}, 202)

"""`POST /process`: every action document on every file, as the customer has always sent them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from penstock.common.model.rest import Processed
from penstock.coordinator.api.openapi_examples import PROCESS_BODY
from penstock.coordinator.api.routes.common import IntakeDep, ServicesDep, media_type, refusals, unsupported_body
from penstock.coordinator.api.submission import Processing, receive_form
from penstock.coordinator.auth.access import CallerDep
from penstock.coordinator.intake.form_upload import FormUpload

router = APIRouter(tags=["process"])


@router.post(
    "/process",
    status_code=202,
    summary="Process pictures",
    openapi_extra=PROCESS_BODY,
    responses={202: {"model": Processed}, **refusals(400, 408, 413, 415, 422, 429)},
)
async def process(request: Request, services: ServicesDep, caller: CallerDep, intake: IntakeDep) -> Response:
    """Take `actions` (JSON documents) and `files` (pictures); every document becomes a job over all the files."""
    kind = media_type(request)
    if kind != "multipart/form-data":
        raise unsupported_body(kind, "multipart/form-data")
    upload = FormUpload(
        request.headers["content-type"],
        "actions",
        services.store,
        services.limits,
        admit=lambda: intake.admit(caller),
    )
    take_form = Processing(services, caller, intake).take_form
    return await receive_form(request, upload, services.limits.max_upload_bytes, take_form)

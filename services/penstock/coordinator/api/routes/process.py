"""`POST /process`: every action document on every file, as the customer has always sent them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from penstock.common.model.rest import Processed
from penstock.coordinator.api.openapi_examples import PROCESS_BODY
from penstock.coordinator.api.routes.common import IntakeDep, ServicesDep, media_type, refusals, unsupported_body
from penstock.coordinator.api.submission import Processing
from penstock.coordinator.intake.request_bodies import FormUpload, receive

router = APIRouter(tags=["process"])


@router.post(
    "/process",
    status_code=202,
    summary="Process pictures",
    openapi_extra=PROCESS_BODY,
    responses={202: {"model": Processed}, **refusals(400, 408, 413, 415, 422, 429)},
)
async def process(request: Request, services: ServicesDep, intake: IntakeDep) -> Response:
    """Take `actions` (JSON documents) and `files` (pictures); every document becomes a job over all the files."""
    kind = media_type(request)
    if kind != "multipart/form-data":
        raise unsupported_body(kind, "multipart/form-data")
    reception: FormUpload[Response] = FormUpload(
        request.headers["content-type"],
        "actions",
        store=services.store,
        limits=services.limits,
        admit=intake.admit,
        answer=Processing(services, intake).take_form,
    )
    return await receive(request, reception, services.limits.max_upload_bytes)

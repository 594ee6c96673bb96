"""`/v1/presets`: job documents without images that callers keep under a name."""

import json
import time
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from penstock.common.model import rest
from penstock.common.model.errors import RequestError
from penstock.coordinator.api.dependencies import CallerDep, ServicesDep, check_media_type
from penstock.coordinator.api.openapi import PRESET_BODY, error_responses
from penstock.coordinator.api.request_body import MaxBytes, read_body
from penstock.coordinator.api.views import as_datetime
from penstock.coordinator.intake.job_requests import read_job_request, read_json
from penstock.coordinator.ports.links import preset_url
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import Preset

router = APIRouter(prefix="/v1/presets", tags=["presets"])

PresetName = Annotated[
    str, Path(description="The preset's name", min_length=1, max_length=100, pattern=r"^[^/\x00-\x1f\x7f]+$")
]

_MAX_BYTES = 64 * 1024


@router.get("", summary="List presets", responses=error_responses())
def list_presets(services: ServicesDep, caller: CallerDep) -> rest.PresetList:
    """Return the caller's presets by name."""
    return rest.PresetList(presets=[_view(preset) for preset in services.repository.list_presets(caller.owner)])


@router.get("/{name}", summary="Get a preset", responses=error_responses(404, 422))
def get_preset(name: PresetName, services: ServicesDep, caller: CallerDep) -> rest.Preset:
    """Return one of the caller's presets."""
    found = services.repository.get_preset(caller.owner, name)
    if found is None:
        raise _no_preset(name)
    return _view(found)


@router.put(
    "/{name}",
    summary="Save a preset",
    openapi_extra=PRESET_BODY,
    responses={
        200: {"model": rest.Preset, "description": "Replaced"},
        201: {"model": rest.Preset, "description": "Created"},
        **error_responses(400, 408, 413, 415, 422, 429),
    },
)
async def put_preset(name: PresetName, request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    """Keep a job document without `inputs` under a name, or replace the one that has it."""
    check_media_type(request, "application/json")
    document = read_json(await read_body(request, MaxBytes(_MAX_BYTES), services.idle_secs))
    checked = read_job_request(document, services.limits).document
    if checked.inputs:
        raise RequestError(422, "invalid_document", "presets have no inputs", "/inputs")
    if checked.webhook and checked.webhook.secret:
        raise RequestError(422, "invalid_document", "presets keep no secrets", "/webhook/secret")
    preset = Preset(name, json.dumps(document), time.time())
    most = services.limits.max_presets
    is_new = await run_in_threadpool(services.repository.put_preset, caller.owner, preset, most)
    if is_new is None:
        raise RequestError(
            429, "too_many_presets", f"there are {most} presets; {services.limits.accepted('max_presets')}"
        )
    return JSONResponse(_view(preset).model_dump(mode="json"), 201 if is_new else 200)


@router.delete("/{name}", status_code=204, summary="Delete a preset", responses=error_responses(404, 422))
def delete_preset(name: PresetName, services: ServicesDep, caller: CallerDep) -> None:
    """Delete one of the caller's presets."""
    if not services.repository.delete_preset(caller.owner, name):
        raise _no_preset(name)


def _no_preset(name: str) -> RequestError:
    return not_found(f"preset {name[:40]!a}")


def _view(preset: Preset) -> rest.Preset:
    return rest.Preset(
        name=preset.name,
        document=json.loads(preset.document),
        changed_at=as_datetime(preset.changed_at),
        url=preset_url(preset.name),
    )

"""`/v1/uploads`: pictures sent one by one, in any number and over any time, for jobs that name them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from penstock.common.model import rest
from penstock.common.model.errors import RequestError
from penstock.coordinator.api.paging import Limit, read_text, write_cursor
from penstock.coordinator.api.routes.common import ServicesDep, refusals
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.access import CallerDep
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.file_names import clean_path
from penstock.coordinator.intake.file_upload import Arrival, no_upload, read_digest, view_file
from penstock.coordinator.intake.form_upload import upload_prefix
from penstock.coordinator.intake.request_bodies import receive
from penstock.coordinator.ports.ids import is_id, new_id
from penstock.coordinator.ports.links import page_url, upload_url
from penstock.coordinator.ports.refusals import conflict
from penstock.coordinator.ports.repository import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

Digest = Annotated[str | None, Header(description="`sha-256=:BASE64:` of the file; other bytes are refused")]


@router.post("", status_code=201, summary="Begin an upload", responses=refusals())
def begin_upload(response: Response, services: ServicesDep, caller: CallerDep) -> rest.Upload:
    """Begin an upload; its files are sent one by one, and jobs name it in `inputs` as `{"upload": id}`."""
    upload = Upload(new_id(), datetime.now(UTC).timestamp(), owner=caller.owner)
    services.repository.create_upload(upload)
    response.headers["Location"] = upload_url(upload.id)
    return rest.Upload(**_summary(upload))


@router.get("/{upload}", summary="List what has arrived", responses=refusals(400, 404, 422))
def show_upload(
    upload: str,
    services: ServicesDep,
    caller: CallerDep,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(max_length=2_000, description="`cursor` of the page before")] = None,
) -> rest.UploadPage:
    """Return an upload and a page of its files, for a client that goes on after an interruption."""
    found = _find(services, caller, upload)
    after = "" if cursor is None else read_text(cursor)
    files = services.repository.list_upload_files(upload, after=after, limit=limit + 1)
    following = write_cursor(files[limit - 1].name) if len(files) > limit else None
    return rest.UploadPage(
        **_summary(found),
        files=[view_file(file) for file in files[:limit]],
        cursor=following,
        next=following and page_url(upload_url(upload), limit=limit, cursor=following),
    )


@router.put(
    "/{upload}/files/{name:path}",
    status_code=201,
    summary="Send one file",
    openapi_extra=_FILE_BODY,
    responses={
        200: {"model": rest.UploadedFile, "description": "The same bytes had come under that name before"},
        201: {"model": rest.UploadedFile, "description": "Arrived"},
        **refusals(400, 404, 408, 409, 413, 422),
    },
)
async def send_file(
    request: Request,
    upload: str,
    name: Annotated[str, Path(description="The file's name, with folders if it has any")],
    services: ServicesDep,
    caller: CallerDep,
    repr_digest: Digest = None,
    digest: Digest = None,
) -> Response:
    """Store a file under a name. Sending it again is safe; other bytes under the same name are refused."""
    if not is_id(upload):
        raise no_upload(upload)
    limits = services.limits
    arrival = Arrival(
        services, caller, upload, clean_path(name, limits.max_name_bytes), read_digest(repr_digest or digest)
    )
    if int(request.headers.get("content-length", 0)) > limits.max_file_bytes:
        raise RequestError(413, "too_large_file", f"file {name[:60]!a} is larger than {limits.max_file_bytes} bytes")
    return await receive(request, arrival, limits.max_file_bytes)


@router.delete("/{upload}", status_code=204, summary="Abandon an upload", responses=refusals(404, 409))
def abandon_upload(upload: str, services: ServicesDep, caller: CallerDep) -> None:
    """Remove an upload that no job reads, with its files."""
    _find(services, caller, upload)
    if not services.repository.discard_uploads(upload):
        raise conflict("upload_in_use", "a job reads this upload; it goes with the last job that does")
    services.store.delete_prefix(upload_prefix(upload))


def _find(services: Services, caller: Caller, upload: str) -> Upload:
    found = services.repository.get_upload(upload, caller.scope) if is_id(upload) else None
    if found is None:
        raise no_upload(upload)
    return found


def _summary(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "url": upload_url(upload.id),
        "changed_at": datetime.fromtimestamp(upload.changed_at, UTC),
        "count": upload.files,
        "pictures": upload.pictures,
        "size": upload.size_bytes,
    }

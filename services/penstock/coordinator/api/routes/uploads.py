"""`/v1/uploads`: images sent one by one, for jobs that name the upload."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from penstock.common.model import rest
from penstock.common.model.errors import RequestError
from penstock.coordinator.api.dependencies import CallerDep, FileName, ServicesDep
from penstock.coordinator.api.openapi import FILE_BODY, error_responses
from penstock.coordinator.api.paging import Limit, NameCursor, next_page, read_name_cursor, write_cursor
from penstock.coordinator.api.request_body import MaxBytes, receive_body
from penstock.coordinator.api.views import as_datetime
from penstock.coordinator.auth.upload_quota import UploadQuota
from penstock.coordinator.intake.file_names import clean_path
from penstock.coordinator.intake.file_upload import FileUpload, no_upload, read_digest
from penstock.coordinator.intake.received_files import upload_prefix
from penstock.coordinator.ports.ids import is_id, new_id
from penstock.coordinator.ports.links import upload_url
from penstock.coordinator.ports.refusals import conflict
from penstock.coordinator.ports.repository import Upload, UploadFile

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

UploadId = Annotated[str, Path(description="The upload's id")]
Digest = Annotated[str | None, Header(description="`sha-256=:BASE64:` of the file; a file that differs is refused")]


def _find_upload(upload: UploadId, services: ServicesDep, caller: CallerDep) -> Upload:
    found = services.repository.get_upload(upload, caller.scope) if is_id(upload) else None
    if found is None:
        raise no_upload(upload)
    return found


UploadDep = Annotated[Upload, Depends(_find_upload)]


@router.post("", status_code=201, summary="Create an upload", responses=error_responses(429, 507))
def create_upload(request: Request, response: Response, services: ServicesDep, caller: CallerDep) -> rest.Upload:
    """Create an empty upload. Its files are sent one by one; a job names it in `inputs` as `{"upload": id}`."""
    quota: UploadQuota = request.app.state.upload_quota
    services.reserve.check()
    quota.check_new(caller)
    upload = Upload(new_id(), time.time(), owner=caller.owner)
    services.repository.create_upload(upload)
    response.headers["Location"] = upload_url(upload.id)
    return rest.Upload(**_view(upload))


@router.get("/{upload}", summary="List an upload's files", responses=error_responses(400, 404, 422))
def list_upload_files(
    upload: UploadDep, services: ServicesDep, limit: Limit = 100, cursor: NameCursor = None
) -> rest.UploadPage:
    """Return an upload and a page of its files, so that a client can resume after an interruption."""
    after = "" if cursor is None else read_name_cursor(cursor)
    files = services.repository.list_upload_files(upload.id, after=after, limit=limit + 1)
    following = write_cursor(files[limit - 1].name) if len(files) > limit else None
    return rest.UploadPage(
        **_view(upload),
        files=[_view_file(file) for file in files[:limit]],
        **next_page(following, upload_url(upload.id), limit=limit),
    )


@router.put(
    "/{upload}/files/{name:file}",
    status_code=201,
    summary="Upload a file",
    openapi_extra=FILE_BODY,
    responses={
        200: {"model": rest.UploadedFile, "description": "The same file was uploaded before"},
        201: {"model": rest.UploadedFile, "description": "Stored"},
        **error_responses(400, 404, 408, 409, 413, 422, 429, 507),
    },
)
async def upload_file(
    request: Request,
    upload: UploadId,
    name: FileName,
    services: ServicesDep,
    caller: CallerDep,
    repr_digest: Digest = None,
    digest: Digest = None,
) -> Response:
    """Store a file under a name. It is safe to repeat; a different file under the same name is refused."""
    if not is_id(upload):
        raise no_upload(upload)
    limits = services.limits
    clean_name = clean_path(name, limits.max_name_bytes)
    expected = read_digest(repr_digest or digest)
    if int(request.headers.get("content-length", 0)) > limits.max_file_bytes:
        raise RequestError(
            413, "too_large_file", f"file {name[:60]!a} is too large; {limits.accepted('max_file_bytes')}"
        )
    await run_in_threadpool(services.reserve.check)
    receiver = FileUpload(services.repository, services.store, limits, caller, upload, clean_name, expected)
    file, is_new = await receive_body(
        request, caller, receiver, MaxBytes.of(limits, "max_file_bytes"), services.idle_secs
    )
    if is_new:
        quota: UploadQuota = request.app.state.upload_quota
        quota.add(caller, file.size_bytes)
    return JSONResponse(_view_file(file).model_dump(), 201 if is_new else 200)


@router.delete("/{upload}", status_code=204, summary="Delete an upload", responses=error_responses(404, 409))
def delete_upload(upload: UploadDep, services: ServicesDep) -> None:
    """Delete an upload that no job reads, with its files."""
    if not services.repository.discard_uploads(upload.id):
        raise conflict("upload_in_use", "a job reads this upload; it is deleted with the last job that does")
    services.store.delete_prefix(upload_prefix(upload.id))


def _view(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "url": upload_url(upload.id),
        "changed_at": as_datetime(upload.changed_at),
        "count": upload.files,
        "pictures": upload.images,
        "size": upload.size_bytes,
    }


def _view_file(file: UploadFile) -> rest.UploadedFile:
    media_type = f"image/{file.kind}" if file.kind else None
    return rest.UploadedFile(name=file.name, size=file.size_bytes, media_type=media_type, sha256=file.sha256)

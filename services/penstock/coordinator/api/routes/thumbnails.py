"""`/v1/jobs/{job}/images/{image}/thumbnail`: a small image of an image's input file, or of one of its results."""

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from penstock.common.store.base import ObjectNotFoundError
from penstock.coordinator.api.dependencies import CallerDep, ImageId, JobId, ServicesDep, find_job
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.responses.file_responses import Content, file_response
from penstock.coordinator.api.thumbnails import Thumbnail, Thumbnails
from penstock.coordinator.ports.refusals import not_found

router = APIRouter(prefix="/v1/jobs/{job}", tags=["results"])


@router.get(
    "/images/{image}/thumbnail",
    summary="Get a thumbnail",
    response_class=Response,
    responses={
        200: {"description": "At most 320 pixels on a side, and 16 kB", "content": {"image/jpeg": {}}},
        304: {"description": "Not modified"},
        **error_responses(404, 415, 422, 429, 500, 504),
    },
)
async def get_thumbnail(
    job: JobId,
    image: ImageId,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    of: Annotated[Literal["source", "result"], Query(description="The input file, or a result")] = "result",
    part: Annotated[int, Query(description="Which of the image's results, from 0", ge=0)] = 0,
) -> Response:
    """Return a small JPEG of an input file or a result. A worker makes it on the first request; it is kept for others.

    If an image has several results, their thumbnails are smaller: together they are as large as one.
    """

    def find() -> tuple[Thumbnail, bytes | None]:
        found_job = find_job(job, services, caller)
        found = services.repository.get_image(found_job.id, image)
        if found is None:
            raise not_found(f"image {image} of job {found_job.id}")
        source = of == "source"
        wanted = Thumbnail.of_source(found_job, found) if source else Thumbnail.of_result(found_job, found, part)
        try:
            return wanted, services.store.get(wanted.key)
        except ObjectNotFoundError:
            return wanted, None

    thumbnails: Thumbnails = request.app.state.thumbnails
    wanted, kept = await run_in_threadpool(find)
    data = await thumbnails.make(wanted, request) if kept is None else kept
    name, digest = f"{image}-{of}-{part}.jpg", hashlib.sha256(data).hexdigest()
    content = Content(name, len(data), "image/jpeg", digest, True, lambda start, end: iter([data[start:end]]))
    response = file_response(request, content)
    if not wanted.may_change:
        response.headers["Cache-Control"] = "private, max-age=86400"
    return response

"""`/v1/jobs/{job}/images`, `/results` and `/results.zip`: a job's images, its manifest, and all results as a file."""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from penstock.common.model import rest
from penstock.common.model.jobs import ImageState
from penstock.common.model.rest import ImagePage, ResultPage
from penstock.coordinator.api.dependencies import ImageId, JobDep, ServicesDep
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.paging import Cursor, Limit, next_page, read_position, write_cursor
from penstock.coordinator.api.responses.manifest import entries, images_at_once, members, ndjson
from penstock.coordinator.api.responses.zip_stream import zip_stream
from penstock.coordinator.api.views import view_image, view_result
from penstock.coordinator.ports.links import job_url
from penstock.coordinator.ports.refusals import not_found

router = APIRouter(prefix="/v1/jobs/{job}", tags=["results"])

_NDJSON = "application/x-ndjson"
_RESULTS_A_PAGE = 20_000


@router.get(
    "/images",
    summary="List a job's images",
    responses={200: {"model": ImagePage}, **error_responses(400, 404, 422)},
)
def list_images(
    job: JobDep,
    services: ServicesDep,
    state: Annotated[ImageState | None, Query(description="Only images in this state")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Return images with results, error, and the seconds of waiting and work in each step."""
    (start,) = read_position(cursor, (0,))
    size = images_at_once(job, limit, _RESULTS_A_PAGE)
    images = services.repository.list_images(job.id, state=state, after=start - 1, limit=size + 1)
    following = write_cursor(images[size].id) if len(images) > size else None
    return _json(
        images=[view_image(job, image) for image in images[:size]],
        **next_page(following, f"{job_url(job.id)}/images", state=state, limit=limit),
    )


@router.get(
    "/images/{image}",
    summary="Get an image",
    responses={200: {"model": rest.Image}, **error_responses(404, 422)},
)
def get_image(job: JobDep, image: ImageId, services: ServicesDep) -> Response:
    """Return one image with results, error, and the seconds of waiting and work in each step."""
    found = services.repository.get_image(job.id, image)
    if found is None:
        raise not_found(f"image {image} of job {job.id}")
    return _json(**view_image(job, found))


@router.get(
    "/results",
    summary="Get the manifest",
    responses={
        200: {"model": ResultPage, "content": {_NDJSON: {"schema": {"$ref": "#/components/schemas/Result"}}}},
        **error_responses(400, 404, 422),
    },
)
def list_results(
    job: JobDep, request: Request, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """Return the results so far: a page, or with `Accept: application/x-ndjson` a stream of all, one per line."""
    image, index = read_position(cursor, (0, 0))
    if _NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(ndjson(job, entries(services.repository, job, image, index)), media_type=_NDJSON)
    page = list(islice(entries(services.repository, job, image, index, limit + 1), limit + 1))
    following = write_cursor(page[limit].image, page[limit].index) if len(page) > limit else None
    return _json(
        results=[view_result(job.id, entry.image, entry.result) for entry in page[:limit]],
        **next_page(following, f"{job_url(job.id)}/results", limit=limit),
    )


@router.get(
    "/results.zip",
    summary="Download all results",
    response_class=StreamingResponse,
    responses={200: {"description": "A ZIP file", "content": {"application/zip": {}}}, **error_responses(404)},
)
def download_results(job: JobDep, services: ServicesDep) -> Response:
    """Stream the results so far as a ZIP file."""
    return StreamingResponse(
        zip_stream(members(services.store, entries(services.repository, job))),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{job.id}.zip"'},
    )


def _json(**fields: object) -> Response:
    return Response(to_json(fields), media_type="application/json")

"""`/v1/jobs/{job}/images`, `/results` and `/results.zip`: what became of every image."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from penstock.common.model.jobs import ImageState
from penstock.common.model.rest import ImagePage, ResultPage
from penstock.coordinator.api.paging import Cursor, Limit, read_position, write_cursor
from penstock.coordinator.api.responses.manifest import entries, images_at_once, members, ndjson
from penstock.coordinator.api.responses.zip_stream import zip_stream
from penstock.coordinator.api.routes.common import ServicesDep, find_job, refusals
from penstock.coordinator.api.views import view_image, view_result
from penstock.coordinator.auth.access import CallerDep
from penstock.coordinator.ports.links import job_url, page_url

router = APIRouter(prefix="/v1/jobs/{job}", tags=["results"])

_NDJSON = "application/x-ndjson"
_RESULTS_A_PAGE = 20_000


@router.get(
    "/images",
    summary="List a job's images",
    responses={200: {"model": ImagePage}, **refusals(400, 404, 422)},
)
def list_images(
    job: str,
    services: ServicesDep,
    caller: CallerDep,
    state: Annotated[ImageState | None, Query(description="Only images in this state")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Return images with their results, errors, and seconds waited and worked in each step."""
    found = find_job(services.repository, job, caller)
    (start,) = read_position(cursor, (0,))
    size = images_at_once(found, limit, _RESULTS_A_PAGE)
    images = services.repository.list_images(job, state=state, after=start - 1, limit=size + 1)
    following = write_cursor(images[size].id) if len(images) > size else None
    return _page(
        images=[view_image(found, image) for image in images[:size]],
        cursor=following,
        next=following and page_url(f"{job_url(job)}/images", state=state, limit=limit, cursor=following),
    )


@router.get(
    "/results",
    summary="The manifest",
    responses={
        200: {"model": ResultPage, "content": {_NDJSON: {"schema": {"$ref": "#/components/schemas/Result"}}}},
        **refusals(400, 404, 422),
    },
)
def list_results(
    job: str, request: Request, services: ServicesDep, caller: CallerDep, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """Return results so far: a page of them, or with `Accept: application/x-ndjson` all, one a line, streamed."""
    found = find_job(services.repository, job, caller)
    image, index = read_position(cursor, (0, 0))
    if _NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(ndjson(found, entries(services.repository, found, image, index)), media_type=_NDJSON)
    page = list(islice(entries(services.repository, found, image, index, limit + 1), limit + 1))
    following = write_cursor(page[limit].image, page[limit].index) if len(page) > limit else None
    return _page(
        results=[view_result(job, entry.image, entry.result) for entry in page[:limit]],
        cursor=following,
        next=following and page_url(f"{job_url(job)}/results", limit=limit, cursor=following),
    )


@router.get(
    "/results.zip",
    summary="All results in one file",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}, **refusals(404)},
)
def download_results(job: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Stream the results so far as a ZIP file."""
    found = find_job(services.repository, job, caller)
    return StreamingResponse(
        zip_stream(members(services.store, entries(services.repository, found))),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{job}.zip"'},
    )


def _page(**fields: object) -> Response:
    return Response(to_json(fields), media_type="application/json")

"""`/v1/jobs/{job}/images`, `/results` and `/results.zip`: a job's images, its manifest, and all results as a file."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from pydantic_core import to_json

from penstock.common.model import rest
from penstock.common.model.jobs import ImageState
from penstock.common.model.rest import ImagePage, ResultPage
from penstock.coordinator.api.dependencies import ImageId, JobDep, ServicesDep
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.paging import Cursor, Limit, next_page, read_position, write_cursor
from penstock.coordinator.api.responses.manifest import (
    FORMS,
    Entry,
    chosen_entries,
    entries,
    first_after,
    members,
    take_page,
)
from penstock.coordinator.api.responses.stream import Stream
from penstock.coordinator.api.responses.zip_stream import zip_stream
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.views import view_image, view_result
from penstock.coordinator.ports.links import job_url
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import Job

router = APIRouter(prefix="/v1/jobs/{job}", tags=["results"])

Chosen = Annotated[
    list[Annotated[int, Field(ge=0, le=2**53)]] | None,
    Query(max_length=1_000, description="Only the results of this image; may be given several times"),
]

_NDJSON = FORMS["ndjson"].media_type
_PLACES = 4_000


@router.get(
    "/images",
    summary="List a job's images",
    responses={200: {"model": ImagePage}, **error_responses(400, 404, 422)},
)
def list_images(
    job: JobDep,
    services: ServicesDep,
    state: Annotated[ImageState | None, Query(description="Only images in this state")] = None,
    code: Annotated[str | None, Query(max_length=60, description="Only failed images with this error code")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Return images with results, error, and the seconds of waiting and work in each step."""
    (start,) = read_position(cursor, (0,))
    images = services.repository.list_images(job.id, state=state, code=code, after=start - 1, limit=limit)
    following = first_after(services.repository, job, images, state, code)
    return _json(
        images=[view_image(job, image) for image in images],
        **next_page(following, f"{job_url(job.id)}/images", state=state, code=code, limit=limit),
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
    summary="List results",
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
        return Stream(FORMS["ndjson"].write(job, entries(services.repository, job, image, index)), media_type=_NDJSON)
    found = entries(services.repository, job, image, index, limit + 1)
    page, following = take_page(found, limit, lambda entry: to_json(view_result(job.id, entry.image, entry.result)))
    after = write_cursor(following.image, following.index) if following else None
    links = to_json(next_page(after, f"{job_url(job.id)}/results", limit=limit))
    return Response(b'{"results":[%b],%b' % (b",".join(page), links[1:]), media_type="application/json")


@router.get("/places", summary="List places", responses=error_responses(404))
def list_places(job: JobDep, services: ServicesDep) -> rest.PlaceList:
    """Return where images were taken, as the metadata of their results say, for a map.

    At most about 4,000 places: in a job with more images, those close to each other are one place.
    """
    places = services.repository.list_places(job.id, _PLACES)
    return rest.PlaceList(
        images=sum(place.images for place in places),
        places=[rest.PlacedImages(**place._asdict()) for place in places],
        tiles=services.map_tiles,
    )


@router.get(
    "/manifest",
    summary="Export the manifest",
    response_class=Stream,
    responses={
        200: {
            "description": "The manifest as a file",
            "content": {form.media_type: {"schema": {"type": form.json_type}} for form in FORMS.values()},
        },
        **error_responses(404, 422),
    },
)
def export_manifest(
    job: JobDep,
    request: Request,
    services: ServicesDep,
    form: Annotated[
        Literal["ndjson", "csv", "geojson"] | None,
        Query(alias="format", description="Default: what `Accept` names, or `ndjson`"),
    ] = None,
    image: Chosen = None,
) -> Response:
    """Stream all results so far: as lines of JSON, as CSV, or as GeoJSON with a point where an image was taken.

    CSV and GeoJSON also have the name of each result's image, as `source`.
    """
    accepted = request.headers.get("accept", "")
    name: str = form or next((name for name, each in FORMS.items() if each.media_type in accepted), "ndjson")
    return Stream(
        FORMS[name].write(job, _entries(services, job, image)),
        media_type=FORMS[name].media_type,
        headers={"Content-Disposition": f'attachment; filename="{job.id}.{name}"', "Vary": "Accept"},
    )


@router.get(
    "/results.zip",
    summary="Download all results",
    response_class=Stream,
    responses={200: {"description": "A ZIP file", "content": {"application/zip": {}}}, **error_responses(404, 422)},
)
def download_results(job: JobDep, services: ServicesDep, image: Chosen = None) -> Response:
    """Stream the results so far, of all images or of some, as a ZIP file."""
    return Stream(
        zip_stream(members(services.store, _entries(services, job, image))),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{job.id}.zip"'},
    )


def _entries(services: Services, job: Job, images: list[int] | None) -> Iterator[Entry]:
    if images:
        return chosen_entries(services.repository, job, images)
    return entries(services.repository, job)


def _json(**fields: object) -> Response:
    return Response(to_json(fields), media_type="application/json")

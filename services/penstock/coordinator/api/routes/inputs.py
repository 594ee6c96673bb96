"""`/v1/inputs`: browses the folders of the input root and of buckets, where jobs find inputs by reference."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from penstock.common.image_header import ALL_SUFFIXES
from penstock.common.model import rest
from penstock.coordinator.api.dependencies import ServicesDep
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.paging import NameCursor, next_page, read_name_cursor, write_cursor
from penstock.coordinator.intake.inputs.browse import Entry, list_folder, list_places
from penstock.coordinator.ports.links import at

router = APIRouter(prefix="/v1/inputs", tags=["jobs"])


class InputEntry(rest.RestModel):
    """A folder or file that a job may name: `kind` is `folder`, `image` by its suffix, or `file`."""

    name: str
    path: str = Field(description="As a job names it; that of a folder ends with `/`")
    kind: Literal["folder", "image", "file"]
    size: int | None = None


class InputFolder(rest.RestModel):
    """A page of a folder. Without a path: the places where inputs may be."""

    path: str
    entries: list[InputEntry]
    cursor: str | None
    next: str | None


@router.get("", summary="Browse inputs", responses=error_responses(400, 403, 422))
def browse_inputs(
    services: ServicesDep,
    path: Annotated[
        str, Query(max_length=4096, description="A folder below the input root, or its URL in a bucket", examples=["."])
    ] = "",
    limit: Annotated[int, Query(ge=1, le=200, description="Maximum number of entries; a page may have fewer")] = 100,
    cursor: NameCursor = None,
) -> InputFolder:
    """Return what jobs may name in a folder, or, without `path`, where inputs may be."""
    after = "" if cursor is None else read_name_cursor(cursor)
    if not path:
        places = list_places(services.input_root, services.buckets)
        entries = [InputEntry(name=place.path.rstrip("/"), path=place.path, kind="folder") for place in places]
        return InputFolder(path="", entries=entries, cursor=None, next=None)
    page = list_folder(services.input_root, services.buckets, path, after, limit)
    following = None if page.position is None else write_cursor(page.position)
    return InputFolder(
        path=path,
        entries=[_view(entry) for entry in page.entries],
        **next_page(following, at("/v1/inputs"), path=path, limit=limit),
    )


def _view(entry: Entry) -> InputEntry:
    is_image = entry.name.lower().endswith(ALL_SUFFIXES)
    kind: Literal["folder", "image", "file"] = "folder" if entry.is_folder else "image" if is_image else "file"
    return InputEntry(name=entry.name, path=entry.path, kind=kind, size=entry.size_bytes)

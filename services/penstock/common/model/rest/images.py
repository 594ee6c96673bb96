"""Images: each with its results, its places and its error."""

import operator
from typing import Annotated

from pydantic import Field

from penstock.common.model.jobs import ImageState
from penstock.common.model.regions import Place, Region, is_empty
from penstock.common.model.rest.base import RestModel, one_of

ShownImageState = Annotated[str, one_of(ImageState)]


class ImageError(RestModel):
    """Why an image failed; `retry` says whether a retry may help."""

    code: str
    message: str = ""
    step: str | None = None
    retry: bool = False


class Timing(RestModel):
    """Seconds that an image waited for one operation of its plan, and that the operation took."""

    step: str
    wait_seconds: float = 0.0
    work_seconds: float = 0.0


class Result(RestModel):
    """One result of an image. `location` is its URL in the user's bucket; null if this server stores it.

    `regions` are in its pixels; `warnings` are codes for what it lacks of the source, such as `depth_reduced`; `place`
    is where the image was taken, by the metadata that the result has. Each is left out where there is none.
    """

    image: int
    name: str
    size: int
    media_type: str
    width: int
    height: int
    sha256: str
    url: str
    location: str | None = None
    regions: tuple[Region, ...] = Field(default=(), exclude_if=is_empty)
    warnings: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    place: Place | None = Field(default=None, exclude_if=is_empty)


class Image(RestModel):
    """One image of a job, or in a job with `gather` one of its groups: then `is_group` is true, and `sent` is empty.

    `group` is the id of the image's group. Both are left out in other jobs.
    """

    id: int
    name: str
    state: ShownImageState
    size: int | None = None
    attempts: int = 0
    sent: str = ""
    results: list[Result] = []
    error: ImageError | None = None
    steps: list[Timing] = []
    group: int | None = Field(default=None, exclude_if=is_empty)
    is_group: bool = Field(default=False, exclude_if=operator.not_)


class PlacedImages(RestModel):
    """Images taken at about the same place: their number, and the id and place of the first one."""

    image: int
    longitude: float
    latitude: float
    images: int


class MapTiles(RestModel):
    """Tiles of a map to show below places: a URL with `{z}`, `{x}` and `{y}`, and whom to credit for it."""

    url: str
    credit: str


class PlaceList(RestModel):
    """Where a job's images were taken, by the metadata of their results; close ones together if there are many.

    `tiles` is the map that this server is set to use; null: none.
    """

    images: int
    places: list[PlacedImages]
    tiles: MapTiles | None = None


class ImagePage(RestModel):
    """Images in the order they were sent. A page may have fewer than `limit`, even if it is not the last."""

    images: list[Image]
    cursor: str | None
    next: str | None


class ResultPage(RestModel):
    """Results in the order of their images."""

    results: list[Result]
    cursor: str | None
    next: str | None

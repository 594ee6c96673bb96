"""Region and Place: a marked area of an image, such as a face, and where it was taken, as manifests have them."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, FiniteFloat, model_validator

MAX_REGIONS = 1_000
"""Regions per image."""
MAX_POINTS = 256
"""Points per polygon."""
MAX_REGION_BYTES = 512 * 1024
"""JSON of the regions of all parts of an image."""


def is_empty(value: object) -> bool:
    """Whether a field says nothing, so that it is left out of JSON."""
    return value is None or value in ("", ())


class Region(BaseModel, frozen=True, extra="forbid"):
    """A box or a polygon in pixels of the upright image; (0, 0) is the outer corner of its first pixel."""

    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None = Field(
        default=None, description="Left, top, width and height", exclude_if=is_empty
    )
    polygon: (
        Annotated[tuple[tuple[FiniteFloat, FiniteFloat], ...], Field(min_length=3, max_length=MAX_POINTS)] | None
    ) = Field(default=None, description="Corners in order, each x and y", exclude_if=is_empty)
    label: str = Field(default="", max_length=100, exclude_if=is_empty)
    score: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = Field(default=None, exclude_if=is_empty)

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if (self.box is None) == (self.polygon is None):
            raise ValueError("a region has either a box or a polygon")
        if self.box is not None and min(self.box[2:]) < 0:
            raise ValueError("a box has a width and a height of 0 or more")
        return self

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """The corners in order."""
        if self.polygon is not None:
            return self.polygon
        assert self.box is not None
        left, top, width, height = self.box
        return ((left, top), (left + width, top), (left + width, top + height), (left, top + height))


class Place(BaseModel, frozen=True):
    """Where an image was taken: degrees (WGS 84), metres above sea level, and degrees clockwise from north."""

    longitude: Annotated[FiniteFloat, Field(ge=-180, le=180)]
    latitude: Annotated[FiniteFloat, Field(ge=-90, le=90)]
    altitude: FiniteFloat | None = Field(default=None, exclude_if=is_empty)
    heading: FiniteFloat | None = Field(default=None, exclude_if=is_empty)


Regions = Annotated[tuple[Region, ...], Field(max_length=MAX_REGIONS)]

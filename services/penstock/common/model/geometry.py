"""Geometry: the parameters of `crop`, `rotate`, `tile` and `contact-sheet`, and the arithmetic of boxes."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from penstock.common.model.parameters import (
    MAX_SIDE,
    Absent,
    AnyPixels,
    Box,
    Color,
    Gravity,
    Parameters,
    place,
    read_short,
)

Percent = Annotated[str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4})?%$", examples=["25%"])]
Offset = Annotated[int, Field(ge=0, lt=MAX_SIDE)] | Percent
Length = Annotated[int, Field(ge=1, le=MAX_SIDE)] | Percent
Span = tuple[int, int]
"""Start and end of a column or row in pixels."""

_LENGTH = r"[0-9]{1,6}|[0-9]{1,3}(?:\.[0-9]{1,4})?%"
_CROP = re.compile(
    rf"(?:(?P<aspect>[0-9.]+:[0-9.]+)|(?P<width>{_LENGTH})[xX](?P<height>{_LENGTH}))"
    rf"(?:[+ ](?P<x>{_LENGTH})[+ ](?P<y>{_LENGTH})|:(?P<gravity>[a-z-]+))?"
)
"""In the query of a URL, `+` stands for a space."""


class Crop(AnyPixels):
    """Cut out a box: a size at a position, a size by `gravity`, or the largest box of an aspect ratio by `gravity`.

    Short forms: `400x300+10+20` (width, height, left, top), `50%x50%`, `400x300:north`, `16:9`, `1:1:west`, and
    `[x, y, width, height]`.
    """

    example: ClassVar[Any] = "16:9"
    needs: ClassVar[str] = "a box or an aspect ratio, e.g. crop=400x300+10+20, crop=50%x50% or crop=16:9"
    optional: ClassVar[frozenset[str]] = frozenset(("aspect", "width", "height", "x", "y", "gravity", "outside"))

    aspect: Annotated[
        Annotated[str, Field(pattern=r"^[0-9]{1,5}(\.[0-9]{1,4})?:[0-9]{1,5}(\.[0-9]{1,4})?$", examples=["16:9"])]
        | Absent,
        Field(description="Aspect ratio, WIDTH:HEIGHT, of the largest box in the image; instead of a size"),
    ] = None
    width: Annotated[
        Length | Absent, Field(description="Width in pixels, or as a percentage; without it, up to the image's edge")
    ] = None
    height: Annotated[
        Length | Absent, Field(description="Height in pixels, or as a percentage; without it, up to the image's edge")
    ] = None
    x: Annotated[
        Offset | Absent, Field(description="Left edge in pixels, or as a percentage; without it, `gravity` decides")
    ] = None
    y: Annotated[
        Offset | Absent, Field(description="Top edge in pixels, or as a percentage; without it, `gravity` decides")
    ] = None
    gravity: Annotated[Gravity, Field(description="Where in the image a box without a position is")] = "centre"
    outside: Annotated[
        Literal["refuse", "clip"],
        Field(description="A box that is partly outside of the image; refuse: the image fails; clip: what is inside"),
    ] = "refuse"

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        box = [self.width, self.height, self.x, self.y]
        if self.aspect is not None and box != [None] * 4:
            raise PydanticCustomError("box", "give aspect, or width, height, x and y, but not both")
        if self.aspect is None and box == [None] * 4:
            raise PydanticCustomError("box", "give aspect, or some of width, height, x and y")
        if (self.x is None) != (self.y is None):
            raise PydanticCustomError("box", "give x and y, or neither")
        if self.aspect is not None and not all(map(Fraction, self.aspect.split(":"))):
            raise PydanticCustomError("box", "an aspect ratio has no side of 0")
        return self

    @classmethod
    def from_short(cls, value: object) -> Self:
        if isinstance(value, list | tuple) and len(value) == 4:
            value = dict(zip(("x", "y", "width", "height"), value, strict=True))
        return cls.model_validate(read_short(value, _read_crop))

    def sizes(self, width: int, height: int) -> Mapping[tuple[int, int], int] | None:
        x, y, box_width, box_height = self.box(width, height)
        across = min(x + box_width, width) - max(x, 0)
        down = min(y + box_height, height) - max(y, 0)
        return {(across, down): 1} if across > 0 and down > 0 else None

    def box(self, width: int, height: int) -> Box:
        """Return the box in an image of this size. It may be partly or wholly outside.

        The edges of percentages are rounded to the nearest pixel, halves up, so that boxes that share an edge join.
        """
        if self.aspect is not None:
            across, down = map(Fraction, self.aspect.split(":"))
            box_width = min(width, max(1, _round(height * across / down)))
            box_height = min(height, max(1, _round(width * down / across)))
        else:
            box_width = _measure(self.x, self.width, width)
            box_height = _measure(self.y, self.height, height)
        if self.x is None or self.y is None:
            left, top = place(self.gravity, width - box_width, height - box_height)
        else:
            left, top = _round(_pixels(self.x, width)), _round(_pixels(self.y, height))
        return left, top, box_width, box_height


def _read_crop(text: str) -> dict[str, Any]:
    match = _CROP.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text[:40]!r} is no box; accepted is a size with a position, such as 400x300+10+20, a size, such as"
            " 400x300 or 50%x50%:north, or an aspect ratio, such as 16:9"
        )
    return {name: given for name, given in match.groupdict().items() if given is not None}


def _measure(offset: int | str | None, length: int | str | None, whole: int) -> int:
    """Return a box's side in pixels; without a length, it reaches to the image's edge."""
    start = Fraction(0) if offset is None else _pixels(offset, whole)
    end = Fraction(whole) if length is None else start + _pixels(length, whole)
    return _round(end) - _round(start)


def _pixels(length: int | str, whole: int) -> Fraction:
    return Fraction(length) if isinstance(length, int) else Fraction(length[:-1]) * whole / 100


def _round(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


class Rotate(AnyPixels):
    """Turn clockwise by an angle, after a flip if one is given.

    Quarter turns and flips only move pixels; other angles interpolate. Short forms: `90`, `-7.5`, `horizontal`,
    `90,flip=horizontal`.
    """

    example: ClassVar[Any] = 90
    optional: ClassVar[frozenset[str]] = frozenset(("angle", "flip", "canvas", "background", "interpolation"))

    angle: Annotated[
        float, Field(ge=-360, le=360, allow_inf_nan=False, description="Degrees clockwise; negative: anticlockwise")
    ] = 0
    flip: Annotated[
        Literal["none", "horizontal", "vertical", "both"],
        Field(description="horizontal: left and right change places; vertical: top and bottom do"),
    ] = "none"
    canvas: Annotated[
        Literal["grow", "keep"],
        Field(description="grow: the result holds the whole image; keep: it has the image's size, corners are cut off"),
    ] = "grow"
    background: Annotated[
        Color,
        Field(description="Colour of what the image does not cover; an image that keeps transparency is clear there"),
    ] = "#ffffff"
    interpolation: Annotated[
        Literal["nearest", "linear", "cubic", "lanczos4"],
        Field(description="For angles that are no quarter turns; with transparency, linear instead of the last two"),
    ] = "cubic"

    @classmethod
    def from_short(cls, value: object) -> Self:
        return cls.model_validate(read_short(value, _read_rotate))

    @property
    def does_nothing(self) -> bool:
        return self.flip == "none" and self.angle % 360 == 0

    def quarter_turns(self, width: int, height: int) -> int | None:
        """Return how many quarter turns clockwise make the result of an image of this size; None if none do."""
        quarters, rest = divmod(self.angle % 360, 90)
        fits = self.canvas == "grow" or quarters % 2 == 0 or width == height
        return int(quarters) if rest == 0 and fits else None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of the result: the smallest whole numbers that hold the turned image."""
        quarters = self.quarter_turns(width, height)
        if quarters is not None:
            return (height, width) if quarters % 2 else (width, height)
        if self.canvas == "keep":
            return width, height
        across, down = abs(math.cos(math.radians(self.angle))), abs(math.sin(math.radians(self.angle)))
        return (
            math.ceil(width * across + height * down - _ROUNDING_ERROR),
            math.ceil(width * down + height * across - _ROUNDING_ERROR),
        )

    def sizes(self, width: int, height: int) -> Mapping[tuple[int, int], int]:
        return {self.size(width, height): 1}


_ROUNDING_ERROR = 1e-6
"""Pixels by which floating-point arithmetic may miss a whole number."""


def _read_rotate(text: str) -> dict[str, Any]:
    if text in ("horizontal", "vertical", "both"):
        return {"flip": text}
    try:
        return {"angle": float(text)}
    except ValueError:
        message = f"{text[:40]!r} is neither an angle nor a flip; accepted is an angle, such as 90, or horizontal"
        raise ValueError(message) from None


class Tile(AnyPixels):
    """Cut into a grid of `columns` × `rows` tiles, or into tiles of `width` × `height` pixels, in reading order.

    The cuts of a grid are at ⌊i·width/columns⌋ and ⌊i·height/rows⌋, so `2x2` equals `split`. Short forms: `3x2`
    (columns, rows), `512` or `512x256px` (pixels), `512,overlap=32`.
    """

    example: ClassVar[Any] = "3x2"
    needs: ClassVar[str] = "a grid or a size in pixels, e.g. tile=3x2 or tile=512"
    optional: ClassVar[frozenset[str]] = frozenset(("columns", "rows", "width", "height", "overlap", "last"))

    columns: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SIDE)] | Absent, Field(description="Columns of the grid, with `rows`")
    ] = None
    rows: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SIDE)] | Absent, Field(description="Rows of the grid, with `columns`")
    ] = None
    width: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SIDE)] | Absent,
        Field(description="Width of a tile in pixels, with `height`, instead of a grid"),
    ] = None
    height: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SIDE)] | Absent,
        Field(description="Height of a tile in pixels, with `width`, instead of a grid"),
    ] = None
    overlap: Annotated[int, Field(ge=0, lt=MAX_SIDE, description="Pixels that two neighbours share")] = 0
    last: Annotated[
        Literal["smaller", "shifted"],
        Field(
            description="The last tile of a row or column, if its size does not fit; smaller: what is left; "
            "shifted: of full size, with a larger overlap"
        ),
    ] = "smaller"

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        given = [side is not None for side in (self.columns, self.rows, self.width, self.height)]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise PydanticCustomError("tile", "give columns and rows, or width and height")
        if self.width and self.height and self.overlap >= min(self.width, self.height):
            raise PydanticCustomError("tile", "the overlap has to be smaller than a tile")
        return self

    @classmethod
    def from_short(cls, value: object) -> Self:
        return cls.model_validate(read_short(value, _read_tile))

    @property
    def does_nothing(self) -> bool:
        return (self.columns, self.rows) == (1, 1)

    @property
    def parts(self) -> int | None:
        return self.columns * self.rows if self.columns and self.rows else None

    def spans(self, width: int, height: int) -> tuple[list[Span], list[Span]]:
        """Return the start and end of every column and of every row, in pixels.

        Raises:
            ValueError: the grid has more columns or rows than the image has pixels.
        """
        if self.columns and self.rows:
            return _divide(width, self.columns, self.overlap), _divide(height, self.rows, self.overlap)
        assert self.width is not None
        assert self.height is not None
        is_shifted = self.last == "shifted"
        return (
            _repeat(width, self.width, self.overlap, is_shifted=is_shifted),
            _repeat(height, self.height, self.overlap, is_shifted=is_shifted),
        )

    def sizes(self, width: int, height: int) -> Mapping[tuple[int, int], int] | None:
        try:
            columns, rows = self.spans(width, height)
        except ValueError:
            return None
        across, down = (Counter(end - start for start, end in spans) for spans in (columns, rows))
        return {(wide, high): many * more for wide, many in across.items() for high, more in down.items()}


def _divide(length: int, count: int, overlap: int) -> list[Span]:
    """Return `count` parts of a length, of which two neighbours share `overlap`."""
    if count > length:
        raise ValueError
    cuts = [index * length // count for index in range(count + 1)]
    before, after = overlap // 2, overlap - overlap // 2
    return [
        (max(0, start - before) if index else 0, min(length, end + after) if end < length else length)
        for index, (start, end) in enumerate(pairwise(cuts))
    ]


def _repeat(length: int, size: int, overlap: int, *, is_shifted: bool) -> list[Span]:
    """Return parts of `size` until the end, of which two neighbours share `overlap`."""
    starts = range(0, max(length - overlap, 1), size - overlap)
    spans = [(start, min(start + size, length)) for start in starts]
    if is_shifted:
        spans[-1] = (max(0, length - size), length)
    return spans


_GRID = re.compile(r"(?P<columns>[0-9]{1,6})[xX](?P<rows>[0-9]{1,6})")
_SIZE = re.compile(r"(?P<width>[0-9]{1,6})(?:[xX](?P<height>[0-9]{1,6})px|px)?")


def _read_tile(text: str) -> dict[str, Any]:
    if match := _GRID.fullmatch(text):
        return match.groupdict()
    if match := _SIZE.fullmatch(text):
        return {"width": match["width"], "height": match["height"] or match["width"]}
    raise ValueError(
        f"{text[:40]!r} is neither a grid nor a size; accepted is COLUMNSxROWS, such as 3x2, or pixels, such as 512 or"
        " 512x256px"
    )


class ContactSheet(Parameters):
    """Put small copies of all images of a group on sheets, in rows, with their names below.

    It is a step for groups, named by `gather`. A group that does not fit on one sheet gets several. Short form: `6x8`,
    columns and rows.
    """

    model_config = ConfigDict(title="Contact sheet")
    example: ClassVar[Any] = "6x8"

    columns: Annotated[int, Field(ge=1, le=100, description="Copies in a row")] = 6
    rows: Annotated[int, Field(ge=1, le=100, description="Rows on a sheet; the last sheet may have fewer")] = 8
    width: Annotated[int, Field(ge=16, le=2_048, description="Width of a copy in pixels, at most")] = 240
    height: Annotated[int, Field(ge=16, le=2_048, description="Height of a copy in pixels, at most")] = 180
    gap: Annotated[int, Field(ge=0, le=256, description="Pixels between copies, and at the edges")] = 16
    background: Annotated[Color, Field(description="Colour of the sheet; names are black or white")] = "#ffffff"
    captions: Annotated[bool, Field(description="Write each image's name below it")] = True

    @classmethod
    def from_short(cls, value: object) -> Self:
        return cls.model_validate(read_short(value, _read_sheet))

    @property
    def parts(self) -> int | None:
        return None


def _read_sheet(text: str) -> dict[str, Any]:
    if match := _GRID.fullmatch(text):
        return match.groupdict()
    raise ValueError(f"{text[:40]!r} is no grid; accepted is COLUMNSxROWS, such as 6x8")

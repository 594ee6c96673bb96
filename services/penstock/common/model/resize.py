"""Resize: the parameters of `resize`, and the arithmetic of sizes."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from penstock.common.model.parameters import MAX_SIDE, AnyPixels, Box, Color, Gravity, form, place, read_short

MAX_PERCENT = 100_000

Fit = Literal["fill", "inside", "cover", "outside", "pad"]
Interpolation = Literal["area", "linear", "cubic", "lanczos4", "nearest"]

_SIZE = re.compile(
    r"(?:(?P<fit>[a-z]+):)?"
    r"(?:(?P<width>[0-9]{1,6})?[xX](?P<height>[0-9]{1,6})?|(?P<percent>[0-9]{1,6}(?:\.[0-9]{1,6})?)%)"
    r"(?P<flag>[!^])?(?P<smaller>>)?"
)
_LONGEST = re.compile(r"longest:(?P<longest>[0-9]{1,6})(?P<smaller>>)?")
_FLAGS = {"!": "fill", "^": "outside"}
_ACCEPTED = "accepted is WIDTHxHEIGHT, such as 512x512 or inside:1024x768, and 1024x, x768, longest:1024 or 50%"


def _show_without_null(schema: dict[str, Any]) -> None:
    """Show an optional field as its type alone: forms and docs leave it empty, and nobody writes null."""
    for option in schema.pop("anyOf"):
        if option["type"] != "null":
            schema.update(option)
    del schema["default"]


Side = Annotated[Annotated[int, Field(ge=1, le=MAX_SIDE)] | None, Field(json_schema_extra=_show_without_null)]
Percent = Annotated[
    Annotated[float, Field(gt=0, le=MAX_PERCENT, allow_inf_nan=False)] | None,
    Field(json_schema_extra=_show_without_null),
]


class Layout(NamedTuple):
    """What a resize does with an image of some size: cut out `box`, scale it to `size`, put it on a canvas.

    `box` is x, y, width and height in the image. `canvas` is the result's size, and `at` where on it the scaled box
    has its left and upper edge. All are pixels.
    """

    box: Box
    size: tuple[int, int]
    canvas: tuple[int, int]
    at: tuple[int, int] = (0, 0)


FIT_TITLES = {
    "fill": "Stretch to this size",
    "inside": "Fit inside",
    "cover": "Fill and crop",
    "outside": "Cover at least",
    "pad": "Fit inside, with borders",
}


class Resize(AnyPixels):
    """Scale to a size; `fit` decides what happens if the aspect ratio differs.

    Give `width` and `height`, or one of them, or `longest`, or `percent`. The short form has `fit` before the size, and
    other fields after it: `cover:512x512,gravity=north`. ImageMagick's `>`, `^` and `!` are read, too: `1024x768>`.
    """

    example: ClassVar[Any] = "inside:512x512"
    needs: ClassVar[str] = "a size, e.g. resize=1024x768 or resize=inside:1024x768"
    optional: ClassVar[frozenset[str]] = frozenset(
        ("width", "height", "longest", "percent", "fit", "gravity", "background", "enlarge", "interpolation")
    )

    width: Annotated[Side, Field(description="In pixels; leave it out to keep the aspect ratio")] = None
    height: Annotated[Side, Field(description="In pixels; leave it out to keep the aspect ratio")] = None
    fit: Annotated[
        Fit,
        Field(
            json_schema_extra=form(FIT_TITLES),
            description="fill: stretch to this size; inside: as large as fits in; cover: fill it, cut the rest off; "
            "outside: as small as covers it; pad: inside, with borders up to this size",
        ),
    ] = "fill"
    longest: Annotated[Side, Field(description="Pixels of the longer side, instead of `width` and `height`")] = None
    percent: Annotated[
        Percent, Field(description="Per cent of the image's own size, instead of `width` and `height`")
    ] = None
    gravity: Annotated[
        Gravity,
        Field(
            json_schema_extra=form(when={"fit": ["cover", "pad"]}),
            description="What cover keeps, and where pad puts the image",
        ),
    ] = "centre"
    background: Annotated[
        Color, Field(json_schema_extra=form(when={"fit": ["pad"]}), description="Colour of the borders of pad")
    ] = "#ffffff"
    enlarge: Annotated[bool, Field(description="false: an image is never scaled up, only down")] = True
    interpolation: Annotated[
        Interpolation,
        Field(
            description="area: the mean of the area that a pixel covers, best for reducing; cubic and lanczos4: "
            "smoother for enlarging; linear; nearest: no new colours"
        ),
    ] = "area"

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        given = (self.width is not None or self.height is not None, self.longest is not None, self.percent is not None)
        if sum(given) != 1:
            raise PydanticCustomError(
                "size", "give width and height, or one of them, or longest, or percent, and nothing else of these"
            )
        if self.fit in ("cover", "pad") and (self.width is None or self.height is None):
            raise PydanticCustomError("size", "fit {fit} needs width and height", {"fit": self.fit})
        return self

    @classmethod
    def from_short(cls, value: object) -> Self:
        if not isinstance(value, dict | str):
            raise ValueError(f"{value!r} is not a size; {_ACCEPTED}")
        return cls.model_validate(read_short(value, _read_size))

    def sizes(self, width: int, height: int) -> Mapping[tuple[int, int], int]:
        return {self.lay_out(width, height).canvas: 1}

    def lay_out(self, width: int, height: int) -> Layout:
        """Return what to do with an image of a size.

        Sides are rounded to the nearest pixel, halves up, and are at least 1. The box of `cover` is rounded to whole
        pixels, too.
        """
        whole = (0, 0, width, height)
        wanted = (self.width, self.height) if self.width and self.height else None
        if wanted and self.fit == "fill":
            size = wanted if self.enlarge else (min(width, wanted[0]), min(height, wanted[1]))
            return Layout(whole, size, size)
        factor = self._find_factor(width, height)
        size = _scale(width, factor), _scale(height, factor)
        if wanted and self.fit == "pad":
            return Layout(whole, size, wanted, place(self.gravity, wanted[0] - size[0], wanted[1] - size[1]))
        if wanted and self.fit == "cover":
            return self._cut(width, height, factor, (min(wanted[0], size[0]), min(wanted[1], size[1])))
        return Layout(whole, size, size)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Width and height that every result has, whatever the image; None if they depend on it."""
        exact = self.fit == "pad" or (self.fit in ("fill", "cover") and self.enlarge)
        return (self.width, self.height) if self.width and self.height and exact else None

    def _cut(self, width: int, height: int, factor: Fraction, canvas: tuple[int, int]) -> Layout:
        """Return the layout of the part of an image that fills a canvas when scaled by a factor."""
        box_width, box_height = min(width, _scale(canvas[0], 1 / factor)), min(height, _scale(canvas[1], 1 / factor))
        x, y = place(self.gravity, width - box_width, height - box_height)
        return Layout((x, y, box_width, box_height), canvas, canvas)

    def _find_factor(self, width: int, height: int) -> Fraction:
        """Return the factor by which an image is scaled, the same in both directions."""
        if self.percent is not None:
            factor = Fraction(str(self.percent)) / 100
        elif self.longest is not None:
            factor = Fraction(self.longest, max(width, height))
        else:
            factors = [
                Fraction(side, own) for side, own in ((self.width, width), (self.height, height)) if side is not None
            ]
            factor = max(factors) if self.fit in ("cover", "outside") else min(factors)
        return factor if self.enlarge else min(factor, Fraction(1))


def _scale(pixels: int, factor: Fraction) -> int:
    return max(1, int(pixels * factor + Fraction(1, 2)))


def _read_size(text: str) -> dict[str, Any]:
    """Return the fields of a size such as `inside:1024x768>`."""
    match = _LONGEST.fullmatch(text) or _SIZE.fullmatch(text)
    given = match.groupdict() if match else {}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value and name in Resize.model_fields}
    if not fields.keys() - {"fit"}:
        raise ValueError(f"{text[:40]!r} is not a size; {_ACCEPTED}")
    flag = given.get("flag")
    if flag and fields.setdefault("fit", _FLAGS[flag]) != _FLAGS[flag]:
        raise ValueError(f"{fields['fit']} and {flag} are two ways to fit; accepted is one of them")
    if given.get("smaller"):
        fields["enlarge"] = False
        if "width" in fields and "height" in fields:
            fields.setdefault("fit", "inside")  # as in ImageMagick
    return fields

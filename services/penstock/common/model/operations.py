"""Operations and their parameters.

One model per operation serves REST, the command line, `GET /v1/operations` and the docs. Every model reads its long
form (`{"op": "resize", "width": 200, "height": 300}`) and its short one (`["resize", "200x300"]`).
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from penstock.common.model.effects import Adjust, Blur
from penstock.common.model.geometry import Crop, Rotate, Tile
from penstock.common.model.parameters import AnyPixels
from penstock.common.model.parameters import Color as Color
from penstock.common.model.parameters import Parameters as Parameters
from penstock.common.model.regions import Regions
from penstock.common.model.resize import Resize as Resize

OutputFormat = Annotated[
    Literal["jpg", "png", "webp", "avif", "tiff", "keep"],
    BeforeValidator(lambda value: "jpg" if value == "jpeg" else value),
]

MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "tiff": "image/tiff",
}
"""The media type of each format; the names are also the suffixes of results."""

FORMATS = {media_type.removeprefix("image/"): form for form, media_type in MEDIA_TYPES.items()}
"""The format of each type of file that can be written."""


class Split(AnyPixels):
    """Cut into four quadrants at ⌊width/2⌋ and ⌊height/2⌋: left-top, right-top, left-bottom, right-bottom."""

    enabled: Annotated[bool, Field(description="false leaves the image whole")] = True

    @property
    def does_nothing(self) -> bool:
        return not self.enabled

    @property
    def parts(self) -> int:
        return 4 if self.enabled else 1


class Decode(Parameters):
    """Read the image's file. Always the first operation of a plan; set by a job's `decode`, `metadata` and so on."""

    example: ClassVar[Any] = "scaled"
    optional: ClassVar[frozenset[str]] = frozenset(
        ("mode", "metadata", "profile", "alpha", "background", "damaged", "depth", "target", "regions")
    )

    mode: Annotated[
        Literal["exact", "scaled"],
        Field(
            description="exact: every pixel of the file; scaled: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size "
            "where the following resize needs no more, which is faster"
        ),
    ] = "exact"
    metadata: Annotated[
        Literal["all", "geo", "none"],
        Field(description="What results keep of EXIF, XMP and IPTC; geo: place, time and heading only"),
    ] = "all"
    profile: Annotated[
        Literal["keep", "srgb", "drop"],
        Field(description="Colour profile; keep: embed it, pixels unchanged; srgb: convert the pixels to sRGB"),
    ] = "keep"
    alpha: Annotated[
        Literal["flatten", "keep", "drop"],
        Field(description="Transparency; flatten: onto `background`; drop: ignore it, whatever the colours below are"),
    ] = "flatten"
    background: Annotated[Color, Field(description="Colour below transparent pixels")] = "#ffffff"
    damaged: Annotated[
        Literal["fail", "keep"],
        Field(description="A damaged JPEG; fail: the image fails; keep: what can be decoded of it, with a warning"),
    ] = "fail"
    depth: Annotated[
        Literal["keep", "8"],
        Field(description="Bits per channel; keep: 16 if the file, all operations and the output have them"),
    ] = "keep"
    target: Annotated[SkipJsonSchema[Resize | None], Field(description="The resize that follows")] = None
    regions: Annotated[SkipJsonSchema[Regions], Field(description="The regions that come with the image")] = ()

    @classmethod
    def from_short(cls, value: object) -> Self:
        if value is True or isinstance(value, dict):
            return cls.model_validate({} if value is True else value)
        return cls.model_validate({"mode": value})


PIXELS_ALONE = Decode(metadata="none", profile="drop", alpha="drop", depth="8")
"""How version 0.1.0 read images: as OpenCV does. `/process` still does, unless its actions say otherwise."""


class Encode(Parameters):
    """Write the results as files. Always the last operation of a plan; set by a job's `output`."""

    example: ClassVar[Any] = "jpg"
    optional: ClassVar[frozenset[str]] = frozenset(("progressive", "subsampling", "max_bytes"))

    format: Annotated[
        OutputFormat,
        Field(
            description="jpg (or jpeg), webp and avif are lossy, png and tiff lossless; keep: the format of the "
            "image's file, or jpg for HEIC"
        ),
    ] = "jpg"
    quality: Annotated[
        int | None,
        Field(ge=1, le=100, description="Quality of jpg (default 95), webp (80) and avif (50); ignored for others"),
    ] = None
    effort: Annotated[
        int,
        Field(
            ge=0, le=3, description="Effort of png, webp and avif from 0 (fastest) to 3 (smallest); ignored for others"
        ),
    ] = 2
    progressive: Annotated[
        bool, Field(description="Write a jpg in several scans, which show the whole early; ignored for others")
    ] = False
    subsampling: Annotated[
        Literal["420", "444"],
        BeforeValidator(lambda value: str(value) if type(value) is int else value),
        Field(description="Colour of a jpg at half the resolution (420), or in full (444); ignored for others"),
    ] = "420"
    max_bytes: Annotated[
        SkipJsonSchema[int | None], Field(description="Lower the quality until the file has at most this many bytes")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _choose_quality(cls, fields: Any) -> Any:
        """Set the default quality of the format; with `keep` it depends on the image."""
        if isinstance(fields, dict) and fields.get("quality") is None and fields.get("format") != "keep":
            return fields | {"quality": _default_quality(fields.get("format", "jpg"))}
        return fields

    @classmethod
    def from_short(cls, value: object) -> Self:
        if value is True:
            return cls()
        return cls.model_validate(value if isinstance(value, dict) else {"format": value})

    def for_source(self, image_type: str) -> "Encode":
        """Return the parameters for an image whose file was of a type, such as `jpeg`: without `keep`."""
        if self.format != "keep":
            return self
        form = FORMATS.get(image_type, "jpg")
        return self.model_copy(update={"format": form, "quality": self.quality or _default_quality(form)})

    @property
    def supports_16_bit(self) -> bool:
        return self.format in ("png", "tiff", "keep")

    @property
    def supports_alpha(self) -> bool:
        return self.format != "jpg"

    @property
    def media_type(self) -> str:
        """The media type of the results; not for `keep`, see `for_source`."""
        return MEDIA_TYPES[self.format]


def _default_quality(form: object) -> int:
    """Return the quality at which a format's files look good: that of version 0.1.0 for jpg, libvips' for others."""
    return {"webp": 80, "avif": 50}.get(str(form), 95)


BUILT_IN: dict[str, type[Parameters]] = {
    "resize": Resize,
    "crop": Crop,
    "rotate": Rotate,
    "tile": Tile,
    "split": Split,
    "adjust": Adjust,
    "blur": Blur,
    "encode": Encode,
}
"""The built-in steps, in the order of the docs."""

DECODE = "decode"
"""The operation that reads an image's file. Not a step: the worker of a plan's first step runs it."""

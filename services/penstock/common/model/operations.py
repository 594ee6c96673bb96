"""Operations and their parameters.

One model per operation serves REST, the command line, `GET /v1/operations` and the docs. Every model reads its long
form (`{"op": "resize", "width": 200, "height": 300}`) and its short one (`["resize", "200x300"]`).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from penstock.common.model.effects import Adjust, Blur
from penstock.common.model.geometry import ContactSheet, Crop, Rotate, Tile
from penstock.common.model.parameters import AnyPixels, form
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


FORMAT_TITLES = {
    "jpg": "JPEG",
    "png": "PNG (lossless)",
    "webp": "WebP",
    "avif": "AVIF (small, slow)",
    "tiff": "TIFF (lossless)",
    "keep": "The format of each image",
}


class Split(AnyPixels):
    """Cut into four quadrants at ⌊width/2⌋ and ⌊height/2⌋: left-top, right-top, left-bottom, right-bottom."""

    model_config = ConfigDict(title="Split into quadrants")

    enabled: Annotated[bool, Field(description="false leaves the image whole")] = True

    @property
    def does_nothing(self) -> bool:
        return not self.enabled

    @property
    def parts(self) -> int:
        return 4 if self.enabled else 1

    def sizes(self, width: int, height: int) -> Mapping[tuple[int, int], int] | None:
        if not self.enabled:
            return {(width, height): 1}
        across, down = (Counter((side // 2, side - side // 2)) for side in (width, height))
        if 0 in across or 0 in down:
            return None
        return {(wide, high): many * more for wide, many in across.items() for high, more in down.items()}


class Decode(Parameters):
    """Read the image's file. Always the first operation of a plan; set by a job's `decode`, `metadata` and so on."""

    example: ClassVar[Any] = "scaled"
    internal: ClassVar[frozenset[str]] = frozenset(("target", "regions"))
    optional: ClassVar[frozenset[str]] = frozenset(
        ("mode", "metadata", "profile", "alpha", "background", "damaged", "depth", "target", "regions")
    )

    mode: Annotated[
        Literal["exact", "scaled"],
        Field(
            json_schema_extra=form({"exact": "Exact", "scaled": "Scaled (faster before a resize)"}),
            description="exact: every pixel of the file; scaled: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size "
            "where the following resize needs no more, which is faster",
        ),
    ] = "exact"
    metadata: Annotated[
        Literal["all", "geo", "none"],
        Field(
            json_schema_extra=form({"all": "Keep all", "geo": "Place, time and heading", "none": "None"}),
            description="What results keep of EXIF, XMP and IPTC; geo: place, time and heading only",
        ),
    ] = "all"
    profile: Annotated[
        Literal["keep", "srgb", "drop"],
        Field(
            json_schema_extra=form({"keep": "Keep", "srgb": "Convert to sRGB", "drop": "Drop"}),
            description="Colour profile; keep: embed it, pixels unchanged; srgb: convert the pixels to sRGB",
        ),
    ] = "keep"
    alpha: Annotated[
        Literal["flatten", "keep", "drop"],
        Field(
            json_schema_extra=form({"flatten": "Fill with the background", "keep": "Keep", "drop": "Ignore"}),
            description="Transparency; flatten: onto `background`; drop: ignore it, whatever the colours below are",
        ),
    ] = "flatten"
    background: Annotated[Color, Field(description="Colour below transparent pixels")] = "#ffffff"
    damaged: Annotated[
        Literal["fail", "keep"],
        Field(
            json_schema_extra=form({"fail": "Refuse", "keep": "Keep what can be read"}),
            description="A damaged JPEG; fail: the image fails; keep: what can be decoded of it, with a warning",
        ),
    ] = "fail"
    depth: Annotated[
        Literal["keep", "8"],
        Field(
            json_schema_extra=form({"keep": "As the file", "8": "8 bits"}),
            description="Bits per channel; keep: 16 if the file, all operations and the output have them",
        ),
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
    internal: ClassVar[frozenset[str]] = frozenset(("max_bytes",))
    optional: ClassVar[frozenset[str]] = frozenset(("progressive", "subsampling", "max_bytes"))

    format: Annotated[
        OutputFormat,
        Field(
            json_schema_extra=form(FORMAT_TITLES),
            description="jpg (or jpeg), webp and avif are lossy, png and tiff lossless; keep: the format of the "
            "image's file, or jpg for HEIC",
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
        Field(
            json_schema_extra=form({"420": "Half (4:2:0)", "444": "Full (4:4:4)"}),
            description="Colour of a jpg at half the resolution (420), or in full (444); ignored for others",
        ),
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


class Gather(Parameters):
    """Put images into groups, each of which goes through one more step together. Always the last operation of a job.

    The step gets the results of those images of a group that succeeded, once all have ended. What it makes are results
    of the group.
    """

    model_config = ConfigDict(title="Gather into groups")
    example: ClassVar[Any] = "folder:contact-sheet"
    needs: ClassVar[str] = "a step for groups, such as folder:contact-sheet"

    by: Annotated[
        str,
        Field(
            pattern=r"^(folder|job|label:.{1,63})$",
            description="Which images are a group: those in the same `folder`, all of the `job`, or those with the same"
            " value of a label, as in `label:region`",
        ),
    ]
    step: Annotated[str, Field(max_length=40, description="The step, which has to be one for groups")]
    params: Annotated[dict[str, Any], Field(default_factory=dict, description="Parameters of the step")]

    @classmethod
    def from_short(cls, value: object) -> Self:
        if not isinstance(value, str):
            return super().from_short(value)
        by, _, step = value.rpartition(":")
        return cls.model_validate({"by": by, "step": step})


BUILT_IN: dict[str, type[Parameters]] = {
    "resize": Resize,
    "crop": Crop,
    "rotate": Rotate,
    "tile": Tile,
    "split": Split,
    "adjust": Adjust,
    "blur": Blur,
    "contact-sheet": ContactSheet,
    "encode": Encode,
}
"""The built-in steps, in the order of the docs."""

BUILT_IN_GROUP_STEPS = frozenset(("contact-sheet",))
"""Those that run on the results of a group of images."""

DECODE = "decode"
"""The operation that reads an image's file. Not a step: the worker of a plan's first step runs it."""

GATHER = "gather"
"""The operation that puts images into groups, each of which one step sees together. Not a step itself."""

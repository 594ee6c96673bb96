"""Effects: the parameters of `adjust` and `blur`."""

from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from penstock.common.model.parameters import Absent, AnyPixels, Color, form, read_short
from penstock.common.wording.suggestions import enumerate_names

Method = Literal["gaussian", "updownsampling", "bilateral", "median", "pixelate", "fill"]
METHOD_TITLES = {
    "gaussian": "Soft (Gaussian)",
    "updownsampling": "Soft, fast (half size and back)",
    "bilateral": "Edge-preserving (bilateral, slow)",
    "median": "Without specks (median)",
    "pixelate": "Mosaic (pixelate)",
    "fill": "One colour (fill)",
}
Factor = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class Adjust(AnyPixels):
    """Change brightness, contrast, gamma and saturation, make grey, and sharpen, in this order.

    Short forms: `brightness=1.2,contrast=1.1`, `gamma=0.8`, `grayscale`, `sharpen=1`.
    """

    example: ClassVar[Any] = "brightness=1.2,contrast=1.1"
    optional: ClassVar[frozenset[str]] = frozenset(
        ("brightness", "contrast", "gamma", "saturation", "grayscale", "sharpen", "sharpen_sigma")
    )

    brightness: Annotated[
        Factor, Field(description="Every value is multiplied by it; 1 changes nothing, 0 is black")
    ] = 1.0
    contrast: Annotated[
        Factor, Field(description="Every value's distance from the middle is multiplied by it; 1 changes nothing")
    ] = 1.0
    gamma: Annotated[
        float,
        Field(
            ge=0.1, le=10, allow_inf_nan=False,
            description="Values of 0 to 1 are raised to 1/gamma; 1 changes nothing, more is brighter",
        ),
    ] = 1.0  # fmt: skip
    saturation: Annotated[
        Factor, Field(description="Every colour's distance from its grey is multiplied by it; 1 changes nothing")
    ] = 1.0
    grayscale: Annotated[bool, Field(description="Every colour becomes its grey, as with saturation 0")] = False
    sharpen: Annotated[
        Factor, Field(description="Share of the difference to a blurred copy that is added; 0 changes nothing")
    ] = 0.0
    sharpen_sigma: Annotated[
        float,
        Field(ge=0.3, le=20, allow_inf_nan=False, description="Standard deviation of that blur in pixels"),
    ] = 1.0

    @classmethod
    def from_short(cls, value: object) -> Self:
        return cls.model_validate(read_short(value, _read_adjust))

    @property
    def does_nothing(self) -> bool:
        return not (self.changes_tones or self.changes_colors or self.sharpen)

    @property
    def changes_tones(self) -> bool:
        """Whether each channel changes by itself."""
        return (self.brightness, self.contrast, self.gamma) != (1, 1, 1)

    @property
    def changes_colors(self) -> bool:
        """Whether the channels of a pixel change together."""
        return self.grayscale or self.saturation != 1


def _read_adjust(text: str) -> dict[str, Any]:
    if text == "grayscale":
        return {"grayscale": True}
    raise ValueError(f"{text[:40]!r} cannot be read; accepted is grayscale, or NAME=VALUE, such as brightness=1.2")


_STRENGTHS: dict[tuple[str, str], tuple[str, ...]] = {
    ("image", "gaussian"): ("sigma", "kernel"),
    ("image", "bilateral"): ("diameter", "portable"),
    ("image", "median"): ("aperture",),
    ("image", "pixelate"): ("block",),
    ("image", "fill"): ("color",),
    ("regions", "gaussian"): ("labels", "samples", "feather"),
    ("regions", "pixelate"): ("labels", "samples", "feather"),
    ("regions", "fill"): ("labels", "color", "feather"),
}
"""Which parameters have an effect, by `where` and `method`."""


def _when(parameter: str) -> dict[str, Any]:
    """Return with which `where` and `method` a parameter has an effect, for a form."""
    having = [pair for pair, names in _STRENGTHS.items() if parameter in names]
    where, method = (list(dict.fromkeys(values)) for values in zip(*having, strict=True))
    return form(when={"where": where, "method": method})


class Blur(AnyPixels):
    """Blur the image, or only its regions, such as faces.

    With `where: regions`, nothing else of a region is left than the means of `samples` × `samples` areas, so that
    nobody can compute back what it showed; outside of the soft edge, no pixel changes. Without regions, the image stays
    as it is. Short forms: `gaussian`, `gaussian,sigma=3`, `pixelate,where=regions,labels=face`.
    """

    example: ClassVar[Any] = "gaussian"
    needs: ClassVar[str] = f"a method, e.g. blur=gaussian; {enumerate_names(get_args(Method))}"
    optional: ClassVar[frozenset[str]] = frozenset(
        (
            "sigma",
            "kernel",
            "diameter",
            "portable",
            "aperture",
            "block",
            "color",
            "where",
            "labels",
            "samples",
            "feather",
        )
    )

    method: Annotated[
        Method,
        Field(
            json_schema_extra=form(METHOD_TITLES),
            description="gaussian: 5×5 kernel; updownsampling: pyrDown, then pyrUp to the same size; "
            "bilateral: diameter 9, both sigmas 75; median: aperture 5; pixelate: mosaic; fill: one colour",
        ),
    ]
    sigma: Annotated[
        Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | Absent,
        Field(
            json_schema_extra=_when("sigma"),
            description="gaussian: standard deviation in pixels; by default, `kernel` determines it",
        ),
    ] = None
    kernel: Annotated[
        Annotated[int, Field(ge=1, le=601)] | Absent,
        Field(
            json_schema_extra=_when("kernel"),
            description="gaussian: side of the kernel in pixels, odd; by default, `sigma` determines it",
        ),
    ] = None
    diameter: Annotated[
        int, Field(ge=1, le=51, json_schema_extra=_when("diameter"), description="bilateral: diameter in pixels")
    ] = 9
    portable: Annotated[
        bool,
        Field(
            json_schema_extra=_when("portable"),
            description="bilateral: by code that makes the same bytes on every processor with FMA, and runs on GPUs; "
            "otherwise OpenCV uses Intel's library on x86, whose bytes differ between processors",
        ),
    ] = False
    aperture: Annotated[
        int,
        Field(
            ge=3, le=255, json_schema_extra=_when("aperture"), description="median: side of the aperture in pixels, odd"
        ),
    ] = 5
    block: Annotated[
        int,
        Field(
            ge=2,
            le=4_096,
            json_schema_extra=_when("block"),
            description="pixelate: side of the blocks in pixels, at most",
        ),
    ] = 16
    color: Annotated[Color, Field(json_schema_extra=_when("color"), description="fill: the colour")] = "#000000"
    where: Annotated[
        Literal["image", "regions"],
        Field(
            json_schema_extra=form({"image": "The whole image", "regions": "Regions only"}),
            description="What is blurred; regions: by gaussian, pixelate or fill",
        ),
    ] = "image"
    labels: Annotated[
        tuple[Annotated[str, Field(max_length=100)], ...],
        Field(
            json_schema_extra=_when("labels"),
            max_length=100,
            description="regions: only those with one of these labels; none: all",
        ),
    ] = ()
    samples: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            json_schema_extra=_when("samples"),
            description="regions: means that are left along the longer side, for gaussian and pixelate",
        ),
    ] = 4
    feather: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            json_schema_extra=_when("feather"),
            description="regions: width of the soft edge around each, as a share of its shorter side",
        ),
    ] = 0.1

    @field_validator("labels", mode="before")
    @classmethod
    def _read_labels(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        names = _STRENGTHS.get((self.where, self.method), ())
        if self.where == "regions" and not names:
            raise PydanticCustomError(
                "blur", "{method} hides no regions; accepted are gaussian, pixelate and fill", {"method": self.method}
            )
        for name in sorted(self.optional - {"where", *names}):
            if getattr(self, name) != type(self).model_fields[name].default:
                text = "{name} has no effect on {method} with where: {where}"
                raise PydanticCustomError("blur", text, {"name": name, "method": self.method, "where": self.where})
        for name, side in (("kernel", self.kernel), ("aperture", self.aperture)):
            if side is not None and side % 2 == 0:
                raise PydanticCustomError("blur", "{name} is an odd number", {"name": name})
        return self

    @classmethod
    def from_short(cls, value: object) -> Self:
        return cls.model_validate(read_short(value, lambda text: {"method": text}))

    @property
    def supports_16_bit(self) -> bool:
        return self.method != "bilateral" and (self.method != "median" or self.aperture <= _MAX_DEEP_APERTURE)


_MAX_DEEP_APERTURE = 5
"""Largest aperture of `cv2.medianBlur` with 16 bits."""

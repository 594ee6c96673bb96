"""Operations and their parameters.

One model per operation serves REST, the command line, `GET /v1/operations` and the docs. Every model reads its long
form (`{"op": "resize", "width": 200, "height": 300}`) and its short one (`["resize", "200x300"]`).
"""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

MAX_SIDE = 32_768
"""Longest side of any image, in pixels."""


class Parameters(BaseModel):
    """Base of all parameters; custom steps subclass it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    example: ClassVar[Any] = True
    """Second element of the short form, shown in the docs."""

    @classmethod
    def from_short(cls, value: object) -> Self:
        """Parse the second element of `[name, value]`: a dict of fields, `true` for the defaults, or the only field.

        Raises ValueError if it is not accepted.
        """
        if isinstance(value, dict):
            return cls.model_validate(value)
        if value is True and "enabled" not in cls.model_fields:
            return cls()
        if len(cls.model_fields) != 1:
            raise ValueError(f"{value!r} cannot be read; accepted is an object with {', '.join(cls.model_fields)}")
        return cls.model_validate({next(iter(cls.model_fields)): value})

    @property
    def does_nothing(self) -> bool:
        """Whether the operation leaves every image unchanged, so that its step can be skipped."""
        return False

    @property
    def parts(self) -> int:
        """How many parts it makes from one."""
        return 1


class Resize(Parameters):
    """Scale to `width` × `height` pixels with area interpolation (`cv2.INTER_AREA`); the aspect ratio is not kept."""

    example: ClassVar[Any] = "512x512"

    width: Annotated[int, Field(ge=1, le=MAX_SIDE, description="Width of the result in pixels")]
    height: Annotated[int, Field(ge=1, le=MAX_SIDE, description="Height of the result in pixels")]

    @classmethod
    def from_short(cls, value: object) -> Self:
        if isinstance(value, dict):
            return cls.model_validate(value)
        match = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", value) if isinstance(value, str) else None
        if match is None:
            shown = value[:40] if isinstance(value, str) else value
            raise ValueError(f"{shown!r} is not a size; accepted is WIDTHxHEIGHT, such as 512x512")
        return cls(width=int(match[1]), height=int(match[2]))


class Split(Parameters):
    """Cut into four quadrants at ⌊width/2⌋ and ⌊height/2⌋: left-top, right-top, left-bottom, right-bottom."""

    enabled: Annotated[bool, Field(description="false leaves the image whole")] = True

    @property
    def does_nothing(self) -> bool:
        return not self.enabled

    @property
    def parts(self) -> int:
        return 4 if self.enabled else 1


class Blur(Parameters):
    """Blur by one of four methods."""

    example: ClassVar[Any] = "gaussian"

    method: Annotated[
        Literal["gaussian", "updownsampling", "bilateral", "median"],
        Field(
            description="gaussian: 5×5 kernel; updownsampling: pyrDown, then pyrUp to the same size; "
            "bilateral: diameter 9, both sigmas 75; median: aperture 5"
        ),
    ]


class Encode(Parameters):
    """Write the results as files. Always the last operation of a plan; set by a job's `output`."""

    example: ClassVar[Any] = "jpg"

    format: Annotated[Literal["jpg", "png"], Field(description="jpg (lossy) or png (lossless)")] = "jpg"
    quality: Annotated[int, Field(ge=1, le=100, description="JPEG quality; ignored for png")] = 95
    effort: Annotated[
        int, Field(ge=0, le=3, description="PNG effort from 0 (fastest) to 3 (smallest); ignored for jpg")
    ] = 2

    @classmethod
    def from_short(cls, value: object) -> Self:
        if value is True:
            return cls()
        return cls.model_validate(value if isinstance(value, dict) else {"format": value})

    @property
    def media_type(self) -> str:
        return "image/jpeg" if self.format == "jpg" else "image/png"


BUILT_IN: dict[str, type[Parameters]] = {"resize": Resize, "split": Split, "blur": Blur, "encode": Encode}
"""The built-in operations, in the order of the docs."""

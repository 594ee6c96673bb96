"""Effects: the parameters of `adjust` and `blur`."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from penstock.common.model.parameters import AnyPixels, read_short

Factor = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class Adjust(AnyPixels):
    """Change brightness, contrast, gamma and saturation, make grey, and sharpen, in this order.

    Short forms: `brightness=1.2,contrast=1.1`, `gamma=0.8`, `grayscale`, `sharpen=1`.
    """

    example: ClassVar[Any] = "brightness=1.2,contrast=1.1"

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

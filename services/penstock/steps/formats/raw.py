"""RawImage: what the reader of a format returns, before profile, transparency and depth are dealt with."""

from collections.abc import Callable
from dataclasses import dataclass

from penstock.common.image_header import Header
from penstock.common.model.operations import Decode
from penstock.steps.colour.icc import ColourSpace
from penstock.steps.image import Pixels


@dataclass(frozen=True, slots=True)
class RawImage:
    """Pixels as the file has them, `H×W×3` in BGR order or `H×W×4` with alpha, `uint8` or `uint16`.

    `orientation` (EXIF, 1 to 8) is still to be applied. `warnings` say what was left out, as codes. `space` is the
    file's colour space: of `GRAY` the three colours are equal, of `CMYK` the four channels are inks, 255 for all of it.
    `full_size` is the width and height of the image in the file, if the pixels are a reduced one.
    """

    pixels: Pixels
    orientation: int = 1
    warnings: tuple[str, ...] = ()
    space: ColourSpace = "RGB"
    full_size: tuple[int, int] | None = None


Reader = Callable[[bytes, Header, Decode], RawImage]
"""Reads a file whose header was checked. Raises ImageError: `unsupported_colorspace`, `truncated_image` or
`corrupt_image`."""

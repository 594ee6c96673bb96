"""Header: what a file says about its picture before it is decoded, and the errors of broken headers."""

from dataclasses import dataclass
from typing import Literal

from penstock.common.model.errors import ImageCode, ImageError

ImageType = Literal["jpeg", "png", "webp", "tiff", "avif", "heic"]
"""The types that can be read, as the second half of their media types."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file.

    `width` and `height` are pixels as stored; an `orientation` (EXIF's numbers) of 5 to 8 swaps them when the image is
    displayed. `components` counts the stored channels: 1 for a palette, one more for alpha. `orientation` is 1 for PNG,
    where the decoder applies it. `data_start` is the offset of the compressed pixels (JPEG, PNG) or of the first
    directory (TIFF). `scans` says whether a JPEG's pixels come in one pass over the image or several, and `images`
    whether the file has more pages or frames than the one that is read.
    """

    type: ImageType
    width: int
    height: int
    components: int
    bit_depth: int = 8
    orientation: int = 1
    data_start: int = 0
    scans: Literal["one", "several"] = "one"
    images: Literal["one", "several"] = "one"


def corrupt(message: str) -> ImageError:
    """Return the error for a file that violates its format."""
    return ImageError(ImageCode.CORRUPT_IMAGE, message)


def truncated(message: str) -> ImageError:
    """Return the error for a file that ends too early."""
    return ImageError(ImageCode.TRUNCATED_IMAGE, message)


def unsupported(message: str) -> ImageError:
    """Return the error for a file of a kind that cannot be read."""
    return ImageError(ImageCode.UNSUPPORTED_TYPE, message)

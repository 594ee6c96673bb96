"""Encode: an array of pixels becomes a file. JPEG as OpenCV writes it; PNG smaller and several times faster.

Each carries the metadata of its source, as `steps.metadata.result` fits them to it.
"""

from bisect import bisect
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Encode
from penstock.steps.colour.alpha import flatten
from penstock.steps.colour.depth import DEPTH_REDUCED, reduce_depth
from penstock.steps.formats.avif import write_avif
from penstock.steps.formats.jpeg import write_jpeg
from penstock.steps.formats.png import write_png
from penstock.steps.formats.tiff import write_tiff
from penstock.steps.formats.webp import write_webp
from penstock.steps.image import Image, Pixels

_WRITERS: dict[str, Callable[[Image, Encode], bytes]] = {
    "jpg": write_jpeg,
    "png": write_png,
    "webp": write_webp,
    "avif": write_avif,
    "tiff": write_tiff,
}


def encode(image: Image, params: Encode) -> bytes:
    """Return an image as a file; equal images give equal bytes.

    Raises:
        ImageError: `parameter_not_applicable` where the format cannot hold the image, `internal` for any other array.
    """
    _check(image.pixels, params)
    data = _WRITERS[params.format](image, params)
    if params.max_bytes is None or len(data) <= params.max_bytes:
        return data
    return _shrink(image, params, params.max_bytes)


def _shrink(image: Image, params: Encode, max_bytes: int) -> bytes:
    """Return a file of the best quality with at most `max_bytes`, or of the lowest if there is none."""

    def write(quality: int) -> bytes:
        return _WRITERS[params.format](image, params.model_copy(update={"quality": quality}))

    fitting = bisect(range(1, params.quality or 100), False, key=lambda quality: len(write(quality)) > max_bytes)
    return write(max(1, fitting))


def fit(image: Image, params: Encode) -> Image:
    """Return an image in a form that its format can hold: 16 bits become 8 with a warning, transparency white."""
    if image.pixels.dtype == np.uint16 and not params.supports_16_bit:
        image = replace(image, pixels=reduce_depth(image.pixels)).warn(DEPTH_REDUCED)
    if image.pixels.shape[2] == 4 and not params.supports_alpha:
        image = replace(image, pixels=flatten(image.pixels, (255, 255, 255)))
    return image


def _check(pixels: Pixels, params: Encode) -> None:
    channels = (3, 4) if params.supports_alpha else (3,)
    types = (np.uint8, np.uint16) if params.supports_16_bit else (np.uint8,)
    if pixels.ndim != 3 or pixels.shape[2] not in channels or pixels.dtype not in types or not pixels.size:
        found = f"an array of {pixels.dtype} {pixels.shape}"
        accepted = f"{' or '.join(each.__name__ for each in types)} (H, W, {' or '.join(map(str, channels))})"
        raise ImageError(ImageCode.INTERNAL, f"{found} is not an image for {params.format}; accepted is {accepted}")

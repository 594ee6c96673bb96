"""Encode: an array of pixels becomes a file. JPEG as OpenCV writes it; PNG smaller and several times faster.

Each carries the metadata of its source, as `steps.metadata.result` fits them to it.
"""

from bisect import bisect

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Encode
from penstock.steps.formats.jpeg import write_jpeg
from penstock.steps.formats.png import write_png
from penstock.steps.image import Image, Pixels

_WRITERS = {"jpg": write_jpeg, "png": write_png}


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

    fitting = bisect(range(1, params.quality), False, key=lambda quality: len(write(quality)) > max_bytes)
    return write(max(1, fitting))


def _check(pixels: Pixels, params: Encode) -> None:
    channels = (3, 4) if params.supports_alpha else (3,)
    types = (np.uint8, np.uint16) if params.supports_16_bit else (np.uint8,)
    if pixels.ndim != 3 or pixels.shape[2] not in channels or pixels.dtype not in types or not pixels.size:
        found = f"an array of {pixels.dtype} {pixels.shape}"
        accepted = f"{' or '.join(each.__name__ for each in types)} (H, W, {' or '.join(map(str, channels))})"
        raise ImageError(ImageCode.INTERNAL, f"{found} is not an image for {params.format}; accepted is {accepted}")

"""Encode: an array of pixels becomes a file. JPEG as OpenCV writes it; PNG smaller and several times faster.

Results carry no metadata.
"""

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Encode
from penstock.steps.formats.jpeg import write_jpeg
from penstock.steps.formats.png import write_png
from penstock.steps.image import Image

_WRITERS = {"jpg": write_jpeg, "png": write_png}


def encode(image: Image, params: Encode) -> bytes:
    """Return an image, `H×W×3 uint8` in BGR order, as a JPEG or PNG file; equal images give equal bytes.

    Raises:
        ImageError: `parameter_not_applicable` where the format cannot hold the image, `internal` for any other array.
    """
    pixels = image.pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        found = f"an array of {pixels.dtype} {pixels.shape}"
        raise ImageError(ImageCode.INTERNAL, f"{found} is not an image; accepted is uint8 (H, W, 3)")
    return _WRITERS[params.format](image, params)

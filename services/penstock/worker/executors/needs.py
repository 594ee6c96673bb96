"""Needs: the memory that an operation needs at least for one image, besides what the process occupies anyway."""

from collections.abc import Sequence
from contextlib import suppress

from penstock.common.image_header import read_header
from penstock.common.model.effects import Adjust, Blur
from penstock.common.model.errors import ImageError
from penstock.common.model.geometry import Rotate
from penstock.common.model.operations import Decode, Encode
from penstock.common.model.parameters import Parameters
from penstock.common.model.resize import Resize
from penstock.common.settings import Limits
from penstock.steps.decode import count_pixels
from penstock.steps.image import Image

_ENCODE_BYTES = {"jpg": 1, "tiff": 4, "png": 11, "webp": 14, "avif": 21}
"""Measured scratch space for each pixel of 8 bits, by the peak of the resident set."""


def needed_bytes(params: Parameters, parts: Sequence[bytes | Image], limits: Limits) -> int:
    """Return the bytes for an operation's input and output, and for scratch space where it is known.

    0 if it is not known, or where the limits refuse the image anyway. `parts` are files before `decode`.
    """
    if isinstance(params, Decode):
        return sum(_decoded_bytes(part, params, limits) for part in parts if isinstance(part, bytes))
    images = [part for part in parts if isinstance(part, Image)]
    made = [_made_bytes(image, params) for image in images]
    work = max(made, default=0) if isinstance(params, Encode) else sum(made)
    return sum(image.pixels.nbytes for image in images) + work


def _decoded_bytes(data: bytes, params: Decode, limits: Limits) -> int:
    if params.mode == "scaled":
        return 0
    with suppress(ImageError):
        header = read_header(data)
        if count_pixels(header, params) <= limits.max_pixels:
            sample_bytes = 2 if params.depth == "keep" and header.bit_depth > 8 else 1
            return len(data) + 3 * sample_bytes * header.width * header.height
    return 0


def _made_bytes(image: Image, params: Parameters) -> int:
    """Return the size of what a step makes of one part; 0 where that is a view of the input, or not known."""
    if isinstance(params, Encode):
        return image.width * image.height * _ENCODE_BYTES.get(params.format, 0)
    if isinstance(params, (Blur, Adjust)):
        return image.pixels.nbytes
    extent = params.extent(*image.full_size) if isinstance(params, (Resize, Rotate)) else None
    pixel_bytes = image.pixels.itemsize * image.pixels.shape[2]
    return 0 if extent is None else extent.pixels * pixel_bytes

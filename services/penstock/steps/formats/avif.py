"""AVIF: read by OpenCV's libavif."""

import numpy as np

from penstock.common.image_header import Header
from penstock.common.model.operations import Decode
from penstock.steps.formats.opencv import imdecode_unchanged
from penstock.steps.formats.raw import RawImage
from penstock.steps.image import Pixels


def read_avif(data: bytes, header: Header, params: Decode) -> RawImage:  # noqa: ARG001 (as every reader)
    """Return the pixels of an AVIF file, of a sequence's first frame; those of 10 and 12 bits as 16.

    Raises:
        ImageError: as `Reader` does.
    """
    pixels = imdecode_unchanged(data)
    if pixels.dtype == np.uint16:
        pixels = widen(pixels, 12 if header.bit_depth > 10 else 10)
    return RawImage(pixels, header.orientation, ("frames_dropped",) if header.images == "several" else ())


def widen(pixels: Pixels, bits: int) -> Pixels:
    """Spread values of 9 to 15 bits over 16: the highest becomes 65535."""
    return pixels << (16 - bits) | pixels >> (2 * bits - 16)

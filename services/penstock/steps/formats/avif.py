"""AVIF: read and written by OpenCV's libavif, with the codecs dav1d and aom."""

import cv2
import numpy as np

from penstock.common.image_header import Header
from penstock.common.model.operations import Decode, Encode
from penstock.steps.formats.opencv import imdecode_unchanged
from penstock.steps.formats.raw import RawImage
from penstock.steps.image import Image, Pixels
from penstock.steps.metadata.result import result_metadata


def read_avif(data: bytes, header: Header, params: Decode) -> RawImage:  # noqa: ARG001 (as every reader)
    """Return the pixels of an AVIF file, of a sequence's first frame; those of 10 and 12 bits as 16.

    Raises:
        ImageError: as `Reader` does.
    """
    pixels = imdecode_unchanged(data)
    if pixels.dtype == np.uint16:
        pixels = widen(pixels, 12 if header.bit_depth > 10 else 10)
    warnings = ("frames_dropped",) if header.images == "several" else ()
    return RawImage(pixels, header.orientation, warnings, "GRAY" if header.components <= 2 else "RGB")


def widen(pixels: Pixels, bits: int, *, is_high: bool = False) -> Pixels:
    """Spread values of 9 to 15 bits over 16, in place: the highest becomes 65535.

    `is_high`: they are in the upper bits of their 16 already.
    """
    rows = max(1, _BAND_PIXELS // pixels.shape[1])
    left, right = (0, bits) if is_high else (16 - bits, 2 * bits - 16)
    for top in range(0, len(pixels), rows):
        band = pixels[top : top + rows]
        band[...] = band << left | band >> right
    return pixels


_BAND_PIXELS = 1 << 16
"""Pixels that are spread at once, so that large images need no more memory."""

_SPEEDS = (10, 9, 8, 6)
"""libavif's speed for each effort."""


def write_avif(image: Image, params: Encode) -> bytes:
    """Return an image, 8 bits, with or without alpha, as an AVIF file with its metadata."""
    metadata = result_metadata(image)
    kinds = {
        cv2.IMAGE_METADATA_EXIF: metadata.exif,
        cv2.IMAGE_METADATA_XMP: metadata.xmp,
        cv2.IMAGE_METADATA_ICCP: metadata.icc,
    }
    found = {kind: np.frombuffer(content, np.uint8) for kind, content in kinds.items() if content}
    parameters = [cv2.IMWRITE_AVIF_QUALITY, params.quality or 50, cv2.IMWRITE_AVIF_SPEED, _SPEEDS[params.effort]]
    _, encoded = cv2.imencodeWithMetadata(".avif", image.pixels, [*found], [*found.values()], parameters)
    return encoded.tobytes()

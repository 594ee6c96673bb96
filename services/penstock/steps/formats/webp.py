"""WebP: read by OpenCV's libwebp, written by Pillow's, which has a setting for the effort."""

import io

import cv2

from penstock.common.image_header import Header
from penstock.common.model.operations import Decode, Encode
from penstock.steps.formats.opencv import check_side, imdecode_unchanged
from penstock.steps.formats.raw import RawImage
from penstock.steps.image import Image
from penstock.steps.metadata.result import result_metadata

_METHODS = (0, 2, 4, 6)
"""libwebp's method for each effort."""


def read_webp(data: bytes, header: Header, params: Decode) -> RawImage:  # noqa: ARG001 (as every reader)
    """Return the pixels of a WebP file, of an animation's first frame. Raises ImageError as `Reader` does."""
    warnings = ("frames_dropped",) if header.images == "several" else ()
    return RawImage(imdecode_unchanged(data), header.orientation, warnings)


def write_webp(image: Image, params: Encode) -> bytes:
    """Return an image, 8 bits, with or without alpha, as a WebP file with its metadata.

    Raises:
        ImageError: `parameter_not_applicable` if it has more than 16,383 pixels on a side.
    """
    from PIL import Image as Pillow
    from PIL import WebPImagePlugin  # noqa: F401 (or Pillow loads fifty formats to find this one)

    check_side(image, "WebP", 16_383)
    order = cv2.COLOR_BGRA2RGBA if image.pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    metadata = result_metadata(image)
    file = io.BytesIO()
    Pillow.fromarray(cv2.cvtColor(image.pixels, order)).save(
        file,
        "WEBP",
        quality=params.quality,
        method=_METHODS[params.effort],
        icc_profile=metadata.icc,
        exif=metadata.exif,
        xmp=metadata.xmp,
    )
    return file.getvalue()

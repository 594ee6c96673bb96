"""AVIF items with metadata, found in a file by libavif, which decodes no pixel for it."""

import io
import struct

import PIL.Image

from penstock.steps.image import Metadata

_EXIF_PREFIX = b"Exif\0\0"


def find_in_avif(data: bytes) -> Metadata:
    """Return what an AVIF file's items hold, as it is. Raises ValueError if they cannot be read."""
    PIL.Image.MAX_IMAGE_PIXELS = None  # the size was checked, and here nothing is decoded
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("AVIF",)) as picture:
            info = picture.info
    except (OSError, SyntaxError, TypeError, RuntimeError, struct.error) as error:
        raise ValueError(f"the items of the AVIF file cannot be read: {error}") from error
    exif = info.get("exif", b"").removeprefix(_EXIF_PREFIX)
    return Metadata(exif=exif, xmp=info.get("xmp", b""), icc=info.get("icc_profile") or b"")

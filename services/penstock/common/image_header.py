"""Image headers: type, size, components and orientation of an image file, read without decoding it.

Pure Python, so that the coordinator can use it. The work is bounded for any input: one pass, no copies of pixels, and
limits on segments, chunks, directories and boxes.
"""

from collections.abc import Callable
from functools import partial

from penstock.common.headers.base import Header, ImageType, corrupt, truncated, unsupported
from penstock.common.headers.exif import read_orientation
from penstock.common.headers.file_types import (
    ALL_SUFFIXES,
    HEAD_BYTES,
    TYPES,
    describe_other,
    describe_type,
    image_type,
    suffixes_of,
)
from penstock.common.headers.isobmff import read_isobmff_header
from penstock.common.headers.jpeg import MAX_SEGMENTS, jpeg_segments, read_jpeg_header
from penstock.common.headers.png import SIGNATURE as PNG_SIGNATURE
from penstock.common.headers.png import read_png_header
from penstock.common.headers.tiff import read_tiff_header
from penstock.common.headers.webp import read_webp_header

__all__ = [
    "ALL_SUFFIXES",
    "HEAD_BYTES",
    "MAX_SEGMENTS",
    "PNG_SIGNATURE",
    "TYPES",
    "Header",
    "ImageType",
    "corrupt",
    "describe_other",
    "describe_type",
    "image_type",
    "jpeg_segments",
    "read_header",
    "read_orientation",
    "suffixes_of",
    "truncated",
    "unsupported",
]

_READERS: dict[ImageType, Callable[[bytes], Header]] = {
    "jpeg": read_jpeg_header,
    "png": read_png_header,
    "webp": read_webp_header,
    "tiff": read_tiff_header,
    "avif": partial(read_isobmff_header, "avif"),
    "heic": partial(read_isobmff_header, "heic"),
}


def read_header(data: bytes) -> Header:
    """Read the header of an image file.

    Raises:
        ImageError: `unsupported_type`, `corrupt_image`, or `truncated_image` if the file ends within its header.
    """
    kind = image_type(data[:HEAD_BYTES])
    if kind is None:
        raise unsupported(f"the file is {describe_type(data[:HEAD_BYTES])}, which is not supported")
    return _READERS[kind](data)

"""What a file is, by its first bytes: type, size, colours and orientation, before any pixel is touched.

Pure Python, so that the coordinator can use it. Reading is bounded whatever the bytes say: one pass, no copies, a
limit on the number of segments.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from penstock.common.model.errors import ImageCode, ImageError

ImageType = Literal["jpeg", "png"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
HEAD_BYTES = 8
"""How many bytes `image_type` needs."""

MAX_SEGMENTS = 4_096
"""Segments read before a JPEG's picture; real files have a few dozen, with a large colour profile some 300."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says of its picture.

    `width` and `height` are pixels as stored: an `orientation` of 5 to 8 swaps them in the picture as it is shown.
    `components` counts colour channels as stored (a palette counts as 1, alpha as one more). `orientation` is that of
    a JPEG's EXIF data; 1 for PNG, where the decoder sees to it. `data_start` is where compressed pixels begin, and
    `scans` says whether they come in one or several passes over the picture.
    """

    type: ImageType
    width: int
    height: int
    components: int
    bit_depth: int = 8
    orientation: int = 1
    data_start: int = 0
    scans: Literal["one", "several"] = "one"


def image_type(head: bytes) -> ImageType | None:
    """Tell a file's type from its first `HEAD_BYTES` bytes; None where it is no type that is accepted."""
    if head.startswith(JPEG_SIGNATURE):
        return "jpeg"
    if head.startswith(PNG_SIGNATURE):
        return "png"
    return None


def read_header(data: bytes) -> Header:
    """Read the header of a JPEG or PNG file.

    Raises:
        ImageError: `unsupported_type`, `corrupt_image`, or `truncated_image` where the file ends within its header.
    """
    kind = image_type(data[:HEAD_BYTES])
    if kind == "jpeg":
        return _read_jpeg(data)
    if kind == "png":
        return _read_png(data)
    raise ImageError(
        ImageCode.UNSUPPORTED_TYPE, f"the file begins with {data[:HEAD_BYTES].hex(' ')}, which is neither JPEG nor PNG"
    )


def corrupt(message: str) -> ImageError:
    """Return the error for a file that breaks its format's rules."""
    return ImageError(ImageCode.CORRUPT_IMAGE, message)


def truncated(message: str) -> ImageError:
    """Return the error for a file that ends before its picture does."""
    return ImageError(ImageCode.TRUNCATED_IMAGE, message)


# PNG: https://www.w3.org/TR/png-3/#11IHDR

_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_COMPONENTS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DATA_START = 33


def _read_png(data: bytes) -> Header:
    if len(data) < _PNG_DATA_START:
        raise truncated(f"the PNG file ends after {len(data)} bytes, within its header")
    length, kind, width, height, depth, colour, compression, filtering, interlace = struct.unpack_from(
        ">I4sIIBBBBB", data, len(PNG_SIGNATURE)
    )
    if kind != b"IHDR" or length != 13:
        raise corrupt("the PNG file does not begin with its header chunk, IHDR")
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise corrupt(f"the PNG header says {width}x{height} pixels; both sides must be 1 or more")
    if depth not in _PNG_DEPTHS.get(colour, ()):
        raise corrupt(f"the PNG header says colour type {colour} with {depth} bits, which does not exist")
    if compression or filtering or interlace > 1:
        raise corrupt(f"the PNG header says methods {compression}, {filtering}, {interlace}, which do not exist")
    return Header("png", width, height, _PNG_COMPONENTS[colour], depth, data_start=_PNG_DATA_START)


# JPEG: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B

_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_PROGRESSIVE_FRAMES = {0xC2, 0xCA}
_UNSUPPORTED_FRAMES = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"),
    0xC8: "JPEG extension",
    0xCB: "lossless arithmetic",
}
_FILL = re.compile(rb"\xff+")
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1


def _read_jpeg(data: bytes) -> Header:
    frame: tuple[int, int, int, int] | None = None
    orientation: int | None = None
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            if frame is not None:
                raise corrupt("the JPEG file has two frame headers")
            frame = _read_frame(data, marker, start, end)
        elif marker == _APP1 and orientation is None:
            orientation = _read_orientation(data[start:end])
        elif marker == _SOS:
            if frame is None:
                raise corrupt("the JPEG file has no frame header before its pixels")
            width, height, components, frame_marker = frame
            one = frame_marker not in _PROGRESSIVE_FRAMES and data[start] == components
            shown = orientation if orientation is not None and 1 <= orientation <= 8 else 1
            return Header("jpeg", width, height, components, 8, shown, end, "one" if one else "several")
        elif marker in _UNSUPPORTED_FRAMES:
            raise ImageError(
                ImageCode.UNSUPPORTED_TYPE,
                f"{_UNSUPPORTED_FRAMES[marker]} JPEG is not supported; accepted are baseline and progressive",
            )
        elif marker in (_SOI, _EOI):
            raise corrupt(f"the JPEG file has a marker {marker:02x} where its pixels should begin")
    raise truncated(f"the JPEG file ends after {len(data)} bytes, within its header")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment's content up to the first scan; ends early where the file does."""
    position, size = 2, len(data)
    for _ in range(MAX_SEGMENTS):
        if position >= size:
            return
        fill = _FILL.match(data, position)
        if fill and fill.end() == size:
            return
        if not fill or data[fill.end()] == 0:
            raise corrupt(f"the JPEG file has no marker where one should be, at byte {position}")
        marker = data[fill.end()]
        position = fill.end() + 1
        if marker in _WITHOUT_LENGTH or marker in (_SOI, _EOI):
            yield marker, position, position
            continue
        if position + 2 > size:
            return
        length = data[position] << 8 | data[position + 1]
        if length < 2:
            raise corrupt(f"the JPEG file has a segment {marker:02x} of {length} bytes; the least is 2")
        end = position + length
        if end > size:
            return
        yield marker, position + 2, end
        position = end
    raise corrupt(f"the JPEG file has more than {MAX_SEGMENTS} segments before its pixels")


def _read_frame(data: bytes, marker: int, start: int, end: int) -> tuple[int, int, int, int]:
    if end - start < 6 or end - start != 6 + 3 * data[start + 5]:
        raise corrupt("the JPEG frame header has the wrong length")
    precision, height, width, components = struct.unpack_from(">BHHB", data, start)
    if precision != 8:
        raise ImageError(ImageCode.UNSUPPORTED_TYPE, f"JPEG with {precision} bits is not supported; accepted is 8")
    if not width or not height or not components:
        raise corrupt(f"the JPEG header says {width}x{height} pixels, {components} colours; each must be 1 or more")
    return width, height, components, marker


# EXIF, to the letter of what OpenCV honours: https://github.com/opencv/opencv/blob/4.x/modules/imgcodecs/src/exif.cpp

_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_TEXTS = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298}
_RATIONALS = {0x011A: 1, 0x011B: 1, 0x013E: 2, 0x013F: 6, 0x0211: 3, 0x0214: 6}
_ENTRY_BYTES = 12


def _read_orientation(segment: bytes) -> int | None:
    """Return the first orientation entry's number, whatever it is; None where none can be read.

    Like OpenCV: no matter which type and count the entry has, only the first directory, and nothing that comes after
    an entry which leads out of the segment.
    """
    if not segment.startswith(_EXIF):
        return None
    tiff = segment[len(_EXIF) :]
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        magic, position = struct.unpack_from(order + "HI", tiff, 2)
        if magic != 42:
            return None
        (count,) = struct.unpack_from(order + "H", tiff, position)
        for start in range(position + 2, position + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
            (tag,) = struct.unpack_from(order + "H", tiff, start)
            if tag == _ORIENTATION:
                return int(struct.unpack_from(order + "H", tiff, start + 8)[0])
            if (tag in _TEXTS or tag in _RATIONALS) and _leads_out(tiff, order, start, tag):
                return None
    except struct.error:  # the directory leads out of the segment
        return None
    return None


def _leads_out(tiff: bytes, order: str, start: int, tag: int) -> bool:
    size, offset = struct.unpack_from(order + "II", tiff, start + 4)
    if tag in _RATIONALS:
        size = 8 * _RATIONALS[tag]
    elif size <= 4:
        offset = 8
    return bool(offset + size > len(tiff))

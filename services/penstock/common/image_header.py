"""Image headers: type, size, components and orientation of a JPEG or PNG file, read without decoding it.

Pure Python, so that the coordinator can use it. The work is bounded for any input: one pass, no copies, and a limit on
the number of segments.
"""

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
"""Bytes that `image_type` needs."""
_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")

MAX_SEGMENTS = 4_096
"""Limit on segments before a JPEG's pixels. Real files have a few dozen; with a large colour profile, some 300."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file.

    `width` and `height` are pixels as stored; an `orientation` of 5 to 8 swaps them when the image is displayed.
    `components` counts the stored channels: 1 for a palette, one more for alpha. `orientation` comes from a JPEG's
    EXIF data; it is 1 for PNG, where the decoder applies it. `data_start` is the offset of the compressed pixels, and
    `scans` says whether they come in one pass over the image or several.
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
    """Return a file's type from its first `HEAD_BYTES` bytes; None if it is not supported."""
    if head.startswith(JPEG_SIGNATURE):
        return "jpeg"
    if head.startswith(PNG_SIGNATURE):
        return "png"
    return None


def is_image_file(path: str, *, if_unreadable: bool) -> bool:
    """Return whether a file is an image by its suffix or its content; `if_unreadable` if it cannot be read."""
    if path.lower().endswith(_SUFFIXES):
        return True
    try:
        with open(path, "rb", buffering=0) as file:
            return image_type(file.read(HEAD_BYTES)) is not None
    except OSError:
        return if_unreadable


def read_header(data: bytes) -> Header:
    """Read the header of a JPEG or PNG file.

    Raises:
        ImageError: `unsupported_type`, `corrupt_image`, or `truncated_image` if the file ends within its header.
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
    """Return the error for a file that violates its format."""
    return ImageError(ImageCode.CORRUPT_IMAGE, message)


def truncated(message: str) -> ImageError:
    """Return the error for a file that ends too early."""
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
        raise corrupt("the PNG file does not begin with an IHDR chunk")
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise corrupt(f"the PNG header has {width}x{height} pixels; accepted are 1 or more on each side")
    if depth not in _PNG_DEPTHS.get(colour, ()):
        raise corrupt(f"the PNG header has colour type {colour} with {depth} bits, which does not exist")
    if compression or filtering or interlace > 1:
        raise corrupt(f"the PNG header has methods {compression}, {filtering}, {interlace}, which do not exist")
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
            orientation = read_orientation(data[start:end])
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
            raise corrupt(f"the JPEG file has no marker at byte {position}, where one is required")
        marker = data[fill.end()]
        position = fill.end() + 1
        if marker in _WITHOUT_LENGTH or marker in (_SOI, _EOI):
            yield marker, position, position
            continue
        if position + 2 > size:
            return
        length = data[position] << 8 | data[position + 1]
        if length < 2:
            raise corrupt(f"the JPEG file has a segment {marker:02x} of {length} bytes; accepted are 2 or more")
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
        raise corrupt(
            f"the JPEG header has {width}x{height} pixels, {components} components; accepted are 1 or more of each"
        )
    return width, height, components, marker


# EXIF, exactly as OpenCV reads it: https://github.com/opencv/opencv/blob/4.x/modules/imgcodecs/src/exif.cpp

_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_TEXTS = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298}
_RATIONALS = {0x011A: 1, 0x011B: 1, 0x013E: 2, 0x013F: 6, 0x0211: 3, 0x0214: 6}
_ENTRY_BYTES = 12


def read_orientation(segment: bytes) -> int | None:
    """Return the value of the first orientation entry, whatever it is; None if there is none.

    Like OpenCV, it ignores the entry's type and count, reads only the first directory, and stops at an entry that
    points beyond the segment.
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
            if (tag in _TEXTS or tag in _RATIONALS) and _points_beyond(tiff, order, start, tag):
                return None
    except struct.error:  # the directory points beyond the segment
        return None
    return None


def _points_beyond(tiff: bytes, order: str, start: int, tag: int) -> bool:
    size, offset = struct.unpack_from(order + "II", tiff, start + 4)
    if tag in _RATIONALS:
        size = 8 * _RATIONALS[tag]
    elif size <= 4:
        offset = 8
    return bool(offset + size > len(tiff))

"""JPEG headers: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B"""

import re
import struct
from collections.abc import Iterator

from penstock.common.headers.base import Header, corrupt, truncated, unsupported
from penstock.common.headers.exif import read_orientation

SIGNATURE = b"\xff\xd8\xff"

MAX_SEGMENTS = 4_096
"""Limit on segments before a JPEG's pixels. Real files have a few dozen; with a large colour profile, some 300."""

_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
PROGRESSIVE_FRAMES = {0xC2, 0xCA}
_UNSUPPORTED_FRAMES = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"),
    0xC8: "JPEG extension",
    0xCB: "lossless arithmetic",
}
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1


def read_jpeg_header(data: bytes) -> Header:
    """Read the header of a JPEG file. Raises ImageError: `unsupported_type`, `corrupt_image` or `truncated_image`."""
    frame: tuple[int, int, int, int] | None = None
    orientation: int | None = None
    for marker, start, end in jpeg_segments(data):
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
            one = frame_marker not in PROGRESSIVE_FRAMES and data[start] == components
            shown = orientation if orientation is not None and 1 <= orientation <= 8 else 1
            return Header("jpeg", width, height, components, 8, shown, end, "one" if one else "several")
        elif marker in _UNSUPPORTED_FRAMES:
            raise unsupported(
                f"{_UNSUPPORTED_FRAMES[marker]} JPEG is not supported; accepted are baseline and progressive"
            )
        elif marker in (_SOI, _EOI):
            raise corrupt(f"the JPEG file has a marker {marker:02x} where its pixels should begin")
    raise truncated(f"the JPEG file ends after {len(data)} bytes, within its header")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment's content up to the first scan; ends early where the file does.

    Bytes between two segments are skipped, as in libjpeg.
    """
    position, size = 2, len(data)
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            return
        position = found.end()
        marker = data[position - 1]
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
        raise unsupported(f"JPEG with {precision} bits is not supported; accepted is 8")
    if not width or not height or not components:
        raise corrupt(
            f"the JPEG header has {width}x{height} pixels, {components} components; accepted are 1 or more of each"
        )
    return width, height, components, marker

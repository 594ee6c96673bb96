"""Repair of JPEG files: removes what libjpeg skips with a warning, so that strict decoding shows real damage.

Cameras and programs write headers with gaps, pad the compressed pixels and leave out the end. None of that changes a
pixel. Markers are those of ITU-T T.81, annex B: https://www.w3.org/Graphics/JPEG/itu-t81.pdf
"""

import re
import struct
from collections.abc import Iterator

from penstock.common.headers.base import Header, corrupt, truncated
from penstock.common.headers.jpeg import MAX_SEGMENTS, PROGRESSIVE_FRAMES, jpeg_segments

MAX_SCAN_PIXELS = 5_000_000_000
"""Scans × pixels of a progressive JPEG; the dozen scans of an ordinary one with 50 Mpx come to a tenth of it."""

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_DHT, _DAC, _SOS, _DQT, _DRI, _APP0, _APP14 = 0xC4, 0xCC, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE
_KEPT = {*range(0xC0, 0xD0), _DQT, _DRI, _SOS, _APP14}
_JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
_ALL_COEFFICIENTS = b"\0\x3f\0"
"""Spectral selection and approximation of a sequential scan: 0 to 63, all bits."""

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""A marker within or after compressed pixels, in which 00 or a restart marker follows each ff."""


def rebuild(data: bytes) -> bytes:
    """Return a file with the segments that decoding needs and all scans, without anything after them."""
    pieces = [_SOI]
    progressive = False
    for marker, start, end in jpeg_segments(data):
        content = data[start:end]
        if marker == _APP0 and content.startswith(b"JFIF\0"):
            content = _JFIF
        elif marker not in _KEPT:
            continue
        progressive |= marker in PROGRESSIVE_FRAMES
        if marker == _SOS and not progressive:
            content = content[:-3] + _ALL_COEFFICIENTS
        pieces.append(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content)
        if marker == _SOS:
            pieces += (data[end : _end_of_scans(data, end)], _EOI)
            break
    return b"".join(pieces)


def remove_padding(data: bytes, count: int) -> bytes | None:
    """Return a rebuilt file without the last `count` bytes of compressed pixels, None unless all are 00 or ff.

    Data that is left over shows that the decoder lost its place; padding shows nothing.
    """
    end = len(data) - len(_EOI)
    if count > end or data[end - count : end].strip(b"\0\xff"):
        return None
    return data[: end - count] + _EOI


def check_number_of_scans(data: bytes, header: Header) -> None:
    """Refuse a file whose many scans, each over every pixel, would take minutes (libjpeg-turbo LJT-01-005)."""
    end = data.find(b"\xff\xd9", header.data_start)
    scans = data.count(b"\xff\xda", header.data_start, end if end >= 0 else len(data))
    if scans * header.width * header.height > MAX_SCAN_PIXELS:
        raise corrupt(f"the JPEG file has {scans} scans over {header.width}x{header.height} pixels, which is too many")


def check_scans(data: bytes, first_scan: int) -> None:
    """Check that the scans of a file hold every bit of every coefficient of every component.

    Args:
        data: a file whose header was checked.
        first_scan: where its first scan's pixels start.

    Raises:
        ImageError: `truncated_image` if scans are missing, `corrupt_image` if one names an unknown component.
    """
    missing: dict[int, dict[int, int]] = {}
    progressive = False
    for marker, start, end in _all_segments(data, first_scan):
        if marker in PROGRESSIVE_FRAMES or marker in (0xC0, 0xC1, 0xC9):
            progressive = marker in PROGRESSIVE_FRAMES
            missing = {data[at]: dict.fromkeys(range(64), 16) for at in range(start + 6, end, 3)}
        if marker != _SOS:
            continue
        low, high, approximation = data[end - 3 : end] if progressive else _ALL_COEFFICIENTS
        for component in data[start + 1 : end - 3 : 2]:
            if component not in missing:
                raise corrupt(f"the JPEG file has a scan of component {component}, which its header does not have")
            for coefficient in range(low, min(high, 63) + 1):
                missing[component][coefficient] = approximation & 15
    for component, bits in missing.items():
        if lacking := sum(left > 0 for left in bits.values()):
            raise truncated(f"the JPEG file lacks scans: component {component} has {64 - lacking} of 64 coefficients")


def _all_segments(data: bytes, first_scan: int) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the segments before and between scans."""
    for marker, start, end in jpeg_segments(data):
        yield marker, start, end
        if marker == _SOS:
            break
    yield from _segments_after(data, first_scan)


def _segments_after(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the segments after the first scan's header, up to the end marker."""
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or found[1] == _EOI[1:]:
            return
        start = found.end() + 2
        end = found.end() + int.from_bytes(data[found.end() : start], "big")
        if end < start or end > len(data):
            return
        yield found[1][0], start, end
        position = end


def _end_of_scans(data: bytes, first_scan: int) -> int:
    """Return where the last scan's pixels end: at the end marker, or where the file ends."""
    *_, last_scan = (first_scan, *(end for _, _, end in _segments_after(data, first_scan)))
    found = _MARKER.search(data, last_scan)
    return found.start() if found else len(data)

"""WebP headers: https://developers.google.com/speed/webp/docs/riff_container"""

import struct
from collections.abc import Iterator

from penstock.common.headers.base import Header, corrupt, truncated
from penstock.common.headers.exif import EXIF_PREFIX, shown_orientation

MAX_CHUNKS = 100_000
"""Limit on chunks per file; each frame of an animation is one."""

_ALPHA, _ANIMATION = 0x10, 0x02
_FIRST_CHUNK = 12
_VP8_START = b"\x9d\x01\x2a"
_VP8L_SIGNATURE = 0x2F
_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")


def is_webp(head: bytes) -> bool:
    """Return whether a file that begins so is WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each chunk's content.

    Raises:
        ImageError: `truncated_image` where the file ends before it should, `corrupt_image` for too many chunks.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated(f"the WebP file ends after {len(data)} bytes; its header says {end}")
    position = _FIRST_CHUNK
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            return
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if position + 8 + size > end:
            raise truncated(f"the WebP file ends within its chunk at byte {position}")
        yield data[position : position + 4], position + 8, position + 8 + size
        position += 8 + size + size % 2
    raise corrupt(f"the WebP file has more than {MAX_CHUNKS} chunks")


def read_webp_header(data: bytes) -> Header:
    """Read the header of a WebP file. Raises ImageError: `corrupt_image` or `truncated_image`."""
    canvas: tuple[int, int, int] | None = None
    picture: tuple[int, int, int] | None = None
    orientation, frames = 1, 0
    for kind, start, end in webp_chunks(data):
        if kind == b"VP8X" and canvas is None:
            canvas = _read_extended(data[start:end])
        elif kind in (b"VP8 ", b"VP8L") and picture is None:
            picture = _read_vp8(data[start : start + 10]) if kind == b"VP8 " else _read_vp8l(data[start : start + 5])
        elif kind == b"EXIF" and canvas is not None:
            orientation = shown_orientation(EXIF_PREFIX + data[start:end].removeprefix(EXIF_PREFIX))
        frames += kind == b"ANMF"
    if picture is None and not frames:
        raise corrupt("the WebP file has no pixels: VP8 is missing")
    width, height, components = _size(canvas, picture)
    return Header("webp", width, height, components, orientation=orientation, images="several" if frames > 1 else "one")


def _size(canvas: tuple[int, int, int] | None, picture: tuple[int, int, int] | None) -> tuple[int, int, int]:
    if canvas is None and picture is None:
        raise corrupt("the WebP file has frames, and no canvas: VP8X is missing")
    if canvas is not None and picture is not None and canvas[:2] != picture[:2]:
        raise corrupt(f"the WebP file has a canvas of {canvas[0]}x{canvas[1]} and {picture[0]}x{picture[1]} pixels")
    size = canvas or picture
    assert size is not None
    if not size[0] or not size[1]:
        raise corrupt(f"the WebP header has {size[0]}x{size[1]} pixels; accepted are 1 or more on each side")
    return size


def _read_extended(content: bytes) -> tuple[int, int, int]:
    if len(content) < 10:
        raise corrupt("the WebP file's VP8X chunk is too short")
    width = 1 + int.from_bytes(content[4:7], "little")
    height = 1 + int.from_bytes(content[7:10], "little")
    return width, height, 4 if content[0] & _ALPHA else 3


def _read_vp8(content: bytes) -> tuple[int, int, int]:
    """Read a key frame's header (RFC 6386, 9.1)."""
    if len(content) < 10 or content[3:6] != _VP8_START or content[0] & 1:
        raise corrupt("the WebP file's VP8 chunk does not begin with a key frame")
    width, height = struct.unpack_from("<HH", content, 6)
    return width & 0x3FFF, height & 0x3FFF, 3


def _read_vp8l(content: bytes) -> tuple[int, int, int]:
    if len(content) < 5 or content[0] != _VP8L_SIGNATURE:
        raise corrupt("the WebP file's VP8L chunk does not begin with its signature")
    bits = int.from_bytes(content[1:5], "little")
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), 4 if bits >> 28 & 1 else 3

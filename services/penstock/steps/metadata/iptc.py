"""IPTC: records of editors and agencies, which are short fields such as city and caption.

https://iptc.org/std/photometadata/documentation/iptc-iim-schema; they stand in an image resource of Photoshop:
https://www.adobe.com/devnet-apps/photoshop/fileformatashtml/#50577409_38034
"""

import struct
from collections.abc import Iterator

MAX_BYTES = 65_503
"""Most bytes of a result's records: what an image resource in a segment of a JPEG file holds."""

_MAX_FIELDS = 10_000
_MAX_RESOURCES = 1_000
_RESOURCE = 0x0404
_TAG_MARK = 0x1C
_CHARACTERS = (1, 90)
_PREVIEWS = {(2, 200), (2, 201), (2, 202)}
_GEO = {(2, 55), (2, 60), (2, 90), (2, 92), (2, 95), (2, 100), (2, 101)}
"""Date and time of creation; city, location, province, country."""


def clean_iptc(data: bytes, *, geo: bool) -> tuple[bytes, bool]:
    """Return records as results keep them, and whether they were damaged or too large; empty if nothing is left.

    Previews are left out; with `geo`, everything but place and time.
    """
    kept = []
    position, length = 0, len(data)
    has_field = False
    for _ in range(_MAX_FIELDS):
        if position + 5 > length or data[position] != _TAG_MARK:
            break
        record, number, size = struct.unpack_from(">BBH", data, position + 1)
        end = position + 5 + size
        if size & 0x8000 or end > length:  # a longer field than any of text
            break
        is_geo = (record, number) in _GEO
        if (is_geo or (record, number) == _CHARACTERS) if geo else (record, number) not in _PREVIEWS:
            kept.append(data[position:end])
            has_field |= is_geo or not geo
        position = end
    damaged = bool(data[position:].strip(b"\0"))
    cleaned = b"".join(kept) if has_field else b""
    return (b"", True) if len(cleaned) > MAX_BYTES else (cleaned, damaged)


def find_iptc(resources: bytes) -> bytes:
    """Return the IPTC records in Photoshop's image resources; empty if there are none."""
    return next((data for number, data in _resources(resources) if number == _RESOURCE), b"")


def make_resource(iptc: bytes) -> bytes:
    """Return the image resource that holds IPTC records."""
    return struct.pack(">4sHHI", b"8BIM", _RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each image resource; ends where one is damaged."""
    position, length = 0, len(data)
    for _ in range(_MAX_RESOURCES):
        if position + 12 > length or data[position : position + 4] not in _SIGNATURES:
            return
        (number,) = struct.unpack_from(">H", data, position + 4)
        start = position + 6 + (data[position + 6] + 2) // 2 * 2  # a name of even length, with its length byte
        if start + 4 > length:
            return
        (size,) = struct.unpack_from(">I", data, start)
        if start + 4 + size > length:
            return
        yield number, data[start + 4 : start + 4 + size]
        position = start + 4 + size + size % 2


_SIGNATURES = {b"8BIM", b"PHUT", b"AgHg", b"DCSR", b"MeSa"}

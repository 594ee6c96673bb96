"""Place: where an image was taken, as its EXIF says.

https://www.cipa.jp/std/documents/e/DC-008-Translation-2023-E.pdf, section 4.6.6.
"""

import struct
from collections.abc import Mapping

from penstock.common.model.regions import Place
from penstock.steps.metadata.tiff_structure import GPS, RATIONAL, Entry, read_structure

_LATITUDE_SIDE, _LATITUDE, _LONGITUDE_SIDE, _LONGITUDE = 1, 2, 3, 4
_BELOW_SEA, _ALTITUDE, _HEADING = 5, 6, 17
_PARTS_OF_DEGREE = (1, 60, 3600)
_DIGITS = 7
"""Decimals of a degree that are kept: a centimetre."""


def read_place(exif: bytes) -> Place | None:
    """Return where an image was taken; None if its EXIF, a TIFF structure, does not say or is damaged."""
    if not exif:
        return None
    try:
        structure = read_structure(exif)
        tags = {entry.tag: entry for entry in structure.directories.get(GPS, ())}
        latitude = _degrees(structure.order, tags, _LATITUDE, _LATITUDE_SIDE, b"NS")
        longitude = _degrees(structure.order, tags, _LONGITUDE, _LONGITUDE_SIDE, b"EW")
        altitude, heading = (_number(structure.order, tags.get(tag)) for tag in (_ALTITUDE, _HEADING))
        if altitude is not None and _BELOW_SEA in tags and bytes(tags[_BELOW_SEA].value) == b"\1":
            altitude = -altitude
        return Place(longitude=longitude, latitude=latitude, altitude=altitude, heading=heading)
    except (KeyError, ValueError, struct.error):
        return None


def _degrees(order: str, tags: Mapping[int, Entry], value: int, side: int, sides: bytes) -> float:
    """Return degrees, minutes and seconds as degrees, negative on the second of two sides such as `NS`."""
    letter = bytes(tags[side].value[:1])
    if not letter or letter not in sides:
        raise ValueError(f"no side {letter!r}")
    parts = _fractions(order, tags[value])
    degrees = sum(part / parts_of_one for part, parts_of_one in zip(parts, _PARTS_OF_DEGREE, strict=True))
    return round(-degrees if letter == sides[1:] else degrees, _DIGITS)


def _number(order: str, entry: Entry | None) -> float | None:
    """Return an entry's only number; None if there is none, or it is unknown."""
    try:
        return None if entry is None else round(_fractions(order, entry)[0], 3)
    except ValueError:
        return None


def _fractions(order: str, entry: Entry) -> list[float]:
    if entry.type != RATIONAL or entry.length > len(_PARTS_OF_DEGREE):
        raise ValueError(f"{entry.length} values of type {entry.type}; accepted are up to 3 fractions")
    numbers = struct.unpack(f"{order}{2 * entry.length}I", entry.value)
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if any(below == 0 for _, below in pairs):
        raise ValueError("a number that is not known")  # cameras write 0/0
    return [above / below for above, below in pairs]

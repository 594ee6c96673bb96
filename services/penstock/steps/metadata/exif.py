"""EXIF: what results keep of it, and the values that follow their pixels.

https://www.cipa.jp/std/documents/e/DC-008-Translation-2023-E.pdf
"""

import json
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from penstock.steps.metadata.tiff_structure import (
    ASCII,
    DIRECTORY_BYTES,
    EXIF,
    GPS,
    IMAGE,
    INTEROP,
    SHORT,
    Entry,
    Structure,
    read_structure,
    set_numbers,
    stored_bytes,
    write_structure,
)

MAX_BYTES = 65_527
"""Most bytes of a result's EXIF: what a segment of a JPEG file holds."""

_ORIENTATION, _CHROMA_POSITION = 0x0112, 0x0213
_COLOR_SPACE, _SRGB = 0xA001, 1
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
_ACROSS, _DOWN = 0xA20E, 0xA20F
"""Pixels per unit of the sensor's plane."""

_DROPPED = frozenset(
    (
        *(0x00FE, 0x00FF, 0x0102, 0x0103, 0x0106, 0x010A, 0x9102),  # how the source stored its pixels
        *(0x0111, *range(0x0115, 0x0118), 0x011C, *range(0x0120, 0x0126), 0x012D, 0x013D),
        *(*range(0x0140, 0x0146), 0x0152, 0x0153, 0x015B, *range(0x0200, 0x0213), 0x0214),
        *(0x014A, 0x935C),  # previews and layers: pixels as they were
        *(0x02BC, 0x83BB, 0x8649, 0x8773),  # XMP, IPTC, Photoshop, profile: carried by themselves
        *(0x830E, 0x8480, 0x8482, 0x85D8, *range(0x87AF, 0x87B2), 0xA480, 0xA481),  # GeoTIFF and GDAL: likewise
        *(0x927C, 0xC634, 0xEA1D),  # maker's notes: offsets and previews that only their maker knows
        *(0x9214, 0xA214),  # where in the picture its subject was
        0xEA1C,  # padding
    )
)
_GEO = {
    IMAGE: frozenset((0x0132,)),
    EXIF: frozenset((0x9003, 0x9004, *range(0x9010, 0x9013), *range(0x9290, 0x9293))),
    GPS: frozenset(range(32)),
}
"""Tags of time, place and heading."""


_DESCRIPTION = 0x010E
"""A text; Mapillary's is JSON, with place, time and heading, and with names and keys of who took the picture."""
_MAX_DESCRIPTION = 16_384
_CAPTURE_TIME = re.compile(r"\d{4}(?:_\d{1,2}){5}(?:_\d{1,6})?", re.ASCII)
_NUMBERS = {"MAPLatitude": 90, "MAPLongitude": 180, "MAPAltitude": 100_000, "MAPGPSAccuracyMeters": 1_000_000}
_HEADINGS = {"TrueHeading": 360, "MagneticHeading": 360, "AccuracyDegrees": 360}
"""Fields that `geo` keeps, and how large a number each may be, with either sign."""


def clean_exif(data: bytes, *, geo: bool, srgb: bool = False) -> tuple[bytes, bool]:
    """Return EXIF as results keep it, and whether anything was damaged or too large; empty if nothing is left.

    Orientation becomes 1, and so does the position of chroma, as in JPEG files by libjpeg. Thumbnails, maker's notes,
    and what tells how or where the source's pixels were stored are left out. The byte order stays.

    Args:
        data: a TIFF structure, or a whole TIFF file.
        geo: keep time, and what GPS says of place and heading, alone.
        srgb: the result's colours are sRGB, whatever the source's were.
    """
    try:
        structure = read_structure(data)
    except (ValueError, struct.error):
        return b"", True
    directories = {name: _choose(structure, name, geo) for name in structure.directories}
    if srgb:
        directories.pop(INTEROP, None)
        colours = struct.pack(structure.order + "H", _SRGB)
        replaced = [_replace(entry, (_COLOR_SPACE,), colours) for entry in directories.get(EXIF, ())]
        directories[EXIF] = replaced
    too_large = _fit(directories)
    if not any(directories.values()):
        return b"", structure.damaged or too_large
    return write_structure(structure.order, directories), structure.damaged or too_large


def _choose(structure: Structure, name: str, geo: bool) -> list[Entry]:
    entries = structure.directories[name]
    if geo:
        kept = _GEO.get(name, frozenset())
        described = [*_place_in_description(entries)] if name == IMAGE else []
        return described + [entry for entry in entries if entry.tag in kept]
    if name == GPS:
        return entries
    one = struct.pack(structure.order + "H", 1)
    return [_replace(entry, (_ORIENTATION, _CHROMA_POSITION), one) for entry in entries if entry.tag not in _DROPPED]


def _place_in_description(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield Mapillary's description with only place, time and heading kept, and no other description."""
    for entry in entries:
        if entry.tag != _DESCRIPTION or entry.type != ASCII or len(entry.value) > _MAX_DESCRIPTION:
            continue
        try:
            found = json.loads(bytes(entry.value).partition(b"\0")[0])
        except (ValueError, RecursionError):
            continue
        if kept := _choose_of_mapillary(found):
            text = json.dumps(kept, separators=(",", ":")).encode() + b"\0"
            yield Entry(_DESCRIPTION, ASCII, len(text), text)


def _choose_of_mapillary(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        return {}
    kept: dict[str, Any] = _choose_numbers(found, _NUMBERS)
    time, heading = found.get("MAPCaptureTime"), found.get("MAPCompassHeading")
    if isinstance(time, str) and _CAPTURE_TIME.fullmatch(time):
        kept["MAPCaptureTime"] = time
    if isinstance(heading, dict) and (headings := _choose_numbers(heading, _HEADINGS)):
        kept["MAPCompassHeading"] = headings
    return kept


def _choose_numbers(found: Mapping[str, Any], largest: Mapping[str, int]) -> dict[str, Any]:
    given = {name: found[name] for name in largest if type(found.get(name)) in (int, float)}
    return {name: number for name, number in given.items() if abs(number) <= largest[name]}  # no NaN


def _replace(entry: Entry, tags: Collection[int], short: bytes) -> Entry:
    return Entry(entry.tag, SHORT, 1, short) if entry.tag in tags else entry


def _fit(directories: dict[str, list[Entry]]) -> bool:
    """Remove the largest entries until the rest fits in `MAX_BYTES`; return whether any were removed."""
    everything: Sequence[Entry] = [entry for entries in directories.values() for entry in entries]
    total = 8 + 4 * (DIRECTORY_BYTES + 12) + sum(map(stored_bytes, everything))
    removed = set()
    for entry in sorted(everything, key=stored_bytes, reverse=True):
        if total <= MAX_BYTES:
            break
        total -= stored_bytes(entry)
        removed.add(id(entry))
    for name in directories if removed else ():
        directories[name] = [entry for entry in directories[name] if id(entry) not in removed]
    return bool(removed)


def fit_exif(exif: bytes, width: int, height: int, scale: tuple[float, float]) -> bytes:
    """Return cleaned EXIF with a result's size in pixels and orientation 1, where it has them; empty if it is damaged.

    `scale` says how many of the result's pixels, across and down, one of the source's has become.
    """
    numbers = {_ORIENTATION: 1, **dict.fromkeys(_WIDTHS, width), **dict.fromkeys(_HEIGHTS, height)}
    factors = {} if scale == (1, 1) else {_ACROSS: scale[0], _DOWN: scale[1]}
    try:
        return set_numbers(exif, numbers, factors)
    except ValueError:
        return b""

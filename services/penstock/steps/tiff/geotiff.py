"""GeoTIFF: the tags that place an image on the earth, kept where a result is a TIFF file, and moved with its pixels.

https://docs.ogc.org/is/19-008r4/19-008r4.html
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.steps.metadata.tiff_structure import IMAGE, Entry, Structure, read_structure, write_structure
from penstock.steps.transform import IDENTITY, Transform

_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION = 33_550, 33_922, 34_264
_KEYS, _DOUBLES, _TEXTS, _NO_DATA = 34_735, 34_736, 34_737, 42_113
_CODES = {
    _PIXEL_SCALE: (12, "d"),
    _TIEPOINTS: (12, "d"),
    _TRANSFORMATION: (12, "d"),
    _KEYS: (3, "H"),
    _DOUBLES: (12, "d"),
    _TEXTS: (2, "s"),
    _NO_DATA: (2, "s"),
}
"""The type of each tag, as TIFF and as `struct` have it."""

_MAX_BYTES = 1024 * 1024
_RASTER_TYPE, _PIXEL_IS_POINT = 1_025, 2
_TIEPOINT_NUMBERS = 6

Values = dict[int, tuple[float, ...] | bytes]


def find_geotiff(structure: Structure) -> bytes:
    """Return a TIFF structure with the GeoTIFF tags of a file's; empty without any, or if there are too many."""
    entries = [
        entry for entry in structure.directories[IMAGE] if entry.tag in _CODES and entry.type == _CODES[entry.tag][0]
    ]
    if not any(entry.tag == _KEYS for entry in entries) or sum(len(entry.value) for entry in entries) > _MAX_BYTES:
        return b""
    return write_structure(structure.order, {IMAGE: entries})


def fit_geotiff(geotiff: bytes, transform: Transform | None, order: str) -> list[Entry]:
    """Return the entries for a result, in a byte order of `struct`; none where nobody knows where its pixels are.

    Args:
        geotiff: what `find_geotiff` returned.
        transform: the map from the source's pixels to the result's.
        order: `<` or `>`.
    """
    if not geotiff or transform is None:
        return []
    values = _read(geotiff)
    moved = values if transform == IDENTITY else _move(values, transform)
    return [_entry(order, tag, content) for tag, content in moved.items()] if moved else []


def _read(geotiff: bytes) -> Values:
    structure = read_structure(geotiff)
    values: Values = {}
    for entry in structure.directories[IMAGE]:
        code = _CODES[entry.tag][1]
        content = bytes(entry.value)
        values[entry.tag] = content if code == "s" else struct.unpack(f"{structure.order}{entry.length}{code}", content)
    return values


def _entry(order: str, tag: int, content: tuple[float, ...] | bytes) -> Entry:
    kind, code = _CODES[tag]
    if isinstance(content, bytes):
        return Entry(tag, kind, len(content), content)
    return Entry(tag, kind, len(content), struct.pack(f"{order}{len(content)}{code}", *content))


@dataclass(frozen=True, slots=True)
class _Place:
    """An affine map from positions in an image to the earth, and the heights that nothing here changes."""

    map: Transform
    scale_z: float = 0.0
    z: float = 0.0


def _move(values: Values, transform: Transform) -> Values | None:
    """Return the tags of an image whose pixels were moved; None if that is impossible."""
    inverse = _invert(transform)
    if inverse is None:
        return None
    half = 0.5 if _is_point(values) else 0.0
    others = {tag: content for tag, content in values.items() if tag not in (_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION)}
    place = _read_place(values, half)
    if place is not None:
        return others | _place_values(_Place(inverse.then(place.map), place.scale_z, place.z), half)
    points = _floats(values, _TIEPOINTS)
    if not points or len(points) % _TIEPOINT_NUMBERS:
        return None
    moved: list[float] = []
    for start in range(0, len(points), _TIEPOINT_NUMBERS):
        x, y = transform.apply(points[start] + half, points[start + 1] + half)
        moved += [x - half, y - half, *points[start + 2 : start + _TIEPOINT_NUMBERS]]
    return others | {_TIEPOINTS: (*moved,)}


def _floats(values: Mapping[int, tuple[float, ...] | bytes], tag: int) -> tuple[float, ...]:
    content = values.get(tag, ())
    return () if isinstance(content, bytes) else content


def _is_point(values: Values) -> bool:
    """Return whether positions are those of the centres of pixels."""
    keys = _floats(values, _KEYS)
    return any(keys[at] == _RASTER_TYPE and keys[at + 3] == _PIXEL_IS_POINT for at in range(4, len(keys) - 3, 4))


def _read_place(values: Values, half: float) -> _Place | None:
    matrix = _floats(values, _TRANSFORMATION)
    if len(matrix) == 16:
        a, b, _, x, d, e, _, y = matrix[:8]
        shifted = Transform(a, b, x - half * (a + b), d, e, y - half * (d + e))
        return _Place(shifted, matrix[10], matrix[11])
    scale, points = _floats(values, _PIXEL_SCALE), _floats(values, _TIEPOINTS)
    if len(scale) != 3 or len(points) < _TIEPOINT_NUMBERS:
        return None
    i, j, _, x, y, z = points[:_TIEPOINT_NUMBERS]
    across, down = scale[0], -scale[1]
    return _Place(Transform(across, 0.0, x - (i + half) * across, 0.0, down, y - (j + half) * down), scale[2], z)


def _place_values(place: _Place, half: float) -> Values:
    """Return a place as tags: scale and a tiepoint where north is up, a matrix otherwise."""
    turn = place.map
    x, y = turn.apply(half, half)
    if turn.xy == turn.yx == 0 and turn.xx > 0 > turn.yy:
        return {_PIXEL_SCALE: (turn.xx, -turn.yy, place.scale_z), _TIEPOINTS: (0.0, 0.0, 0.0, x, y, place.z)}
    rows = ((turn.xx, turn.xy, 0.0, x), (turn.yx, turn.yy, 0.0, y), (0.0, 0.0, place.scale_z, place.z))
    return {_TRANSFORMATION: (*(number for row in rows for number in row), 0.0, 0.0, 0.0, 1.0)}


def _invert(transform: Transform) -> Transform | None:
    xx, xy, x0, yx, yy, y0 = transform
    determinant = xx * yy - xy * yx
    if not determinant:
        return None
    a, b, d, e = yy / determinant, -xy / determinant, -yx / determinant, xx / determinant
    return Transform(a, b, -(a * x0 + b * y0), d, e, -(d * x0 + e * y0))

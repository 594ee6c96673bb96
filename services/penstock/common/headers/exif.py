"""EXIF orientation, exactly as OpenCV reads it: https://github.com/opencv/opencv/blob/4.x/modules/imgcodecs/src/exif.cpp"""

import struct

EXIF_PREFIX = b"Exif\0\0"
"""What stands before the TIFF structure of EXIF data in a JPEG, and in some WebP files."""

_ORIENTATION = 0x0112
_TEXTS = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298}
_RATIONALS = {0x011A: 1, 0x011B: 1, 0x013E: 2, 0x013F: 6, 0x0211: 3, 0x0214: 6}
_ENTRY_BYTES = 12


def read_orientation(segment: bytes) -> int | None:
    """Return the value of the first orientation entry of EXIF data, whatever it is; None if there is none.

    Like OpenCV, it ignores the entry's type and count, reads only the first directory, and stops at an entry that
    points beyond the segment.
    """
    if not segment.startswith(EXIF_PREFIX):
        return None
    tiff = segment[len(EXIF_PREFIX) :]
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


def shown_orientation(segment: bytes) -> int:
    """Return the orientation by which an image with this EXIF data is displayed: 1 to 8."""
    found = read_orientation(segment)
    return found if found is not None and 1 <= found <= 8 else 1

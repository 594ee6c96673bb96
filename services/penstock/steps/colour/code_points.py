"""Code points: files that name their colours instead of having a profile get a profile that says the same.

ITU-T H.273 (CICP) has numbers for colours; PNG has them in its chunk cICP, AVIF and HEIC in the box colr. Those of HDR
(PQ and HLG) have no such profile. Cameras mark Adobe RGB by R03 as the interoperability index of EXIF (DCF 2.0, 3.2.2).
"""

import struct

from penstock.common.headers.isobmff import read_properties
from penstock.common.image_header import Header
from penstock.common.model.errors import ImageError
from penstock.steps.colour.icc import CURVES, PRIMARIES, Colorants, write_profile
from penstock.steps.metadata.jpeg import find_in_jpeg
from penstock.steps.metadata.tiff_structure import INTEROP, read_structure
from penstock.steps.png.file import chunks, has_valid_checksum

_DISPLAY_P3: Colorants = {
    b"rXYZ": (0.515121, 0.241196, -0.001053),
    b"gXYZ": (0.291977, 0.692245, 0.041885),
    b"bXYZ": (0.157104, 0.066574, 0.784073),
}
_BT2020: Colorants = {
    b"rXYZ": (0.673462, 0.279037, -0.001933),
    b"gXYZ": (0.165665, 0.675339, 0.029984),
    b"bXYZ": (0.125046, 0.045609, 0.796860),
}
_ADOBE_RGB: Colorants = {
    b"rXYZ": (0.609741, 0.311112, 0.019470),
    b"gXYZ": (0.205276, 0.625671, 0.060867),
    b"bXYZ": (0.149185, 0.063217, 0.744568),
}
_PRIMARIES: dict[int, tuple[str, Colorants]] = {
    1: ("sRGB", PRIMARIES),
    2: ("sRGB", PRIMARIES),  # not specified
    9: ("BT.2020", _BT2020),
    12: ("Display P3", _DISPLAY_P3),
}
"""Names and colours, as XYZ under D50, of code points for primaries."""


def _formula(*numbers: float) -> bytes:
    kind = {1: 0, 5: 3}[len(numbers)]
    return struct.pack(f">4s4xHH{len(numbers)}i", b"para", kind, 0, *(round(number * 65536) for number in numbers))


_SRGB_CURVE = _formula(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_TRANSFERS = {
    **dict.fromkeys((1, 2, 6, 13, 14, 15), _SRGB_CURVE),  # displays show BT.709 like sRGB
    4: _formula(2.2),
    5: _formula(2.8),
    8: _formula(1.0),
}
"""Tone curves of code points for transfer characteristics."""
_ADOBE_CURVE = _formula(563 / 256)


_HDR = {16, 18}
"""Transfer characteristics of PQ and HLG."""
HDR_DROPPED = "hdr_dropped"
"""Warning: the file's colours are those of HDR, and results don't say so."""


def coded_profile(data: bytes, header: Header) -> tuple[bytes, tuple[str, ...]]:
    """Return the profile that a file names, and warnings; it is empty for sRGB, and for unknown or no names."""
    try:
        if header.type == "jpeg":
            is_adobe = _is_adobe_rgb(data, header)
            return _make_profile("Adobe RGB (1998)", _ADOBE_RGB, _ADOBE_CURVE) if is_adobe else b"", ()
        primaries, transfer = _find_code_points(data, header)
    except (ImageError, ValueError, struct.error):
        return b"", ()
    if transfer in _HDR:
        return b"", (HDR_DROPPED,)
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        return b"", ()
    name, colorants = _PRIMARIES[primaries]
    curve = _TRANSFERS[transfer]
    is_srgb = colorants is PRIMARIES and curve is _SRGB_CURVE
    return b"" if is_srgb else _make_profile(name, colorants, curve), ()


def _find_code_points(data: bytes, header: Header) -> tuple[int, int]:
    """Return primaries and transfer; 2, which is "not specified", without any. Raises ImageError or struct.error."""
    if header.type == "png":
        for kind, start, end in chunks(data):
            if kind == b"cICP" and end - start == 4 and has_valid_checksum(data, kind, start, end):
                return struct.unpack_from(">BB", data, start)
            if kind == b"IDAT":
                break
    elif header.type in ("avif", "heic"):
        for kind, content in read_properties(data).own:
            if kind == b"colr" and content.startswith(b"nclx"):
                return struct.unpack_from(">HH", content, 4)
    return 2, 2


def _is_adobe_rgb(data: bytes, header: Header) -> bool:
    """Return whether EXIF says so. Raises ImageError, ValueError or struct.error."""
    if data.find(_R03, 0, header.data_start) < 0:  # so that hardly any file is read again
        return False
    directories = read_structure(find_in_jpeg(data).exif).directories
    return any(tag == _INDEX and bytes(value) == _R03 for tag, _, _, value in directories.get(INTEROP, ()))


_INDEX, _R03 = 0x0001, b"R03\0"

_D50 = (0.9642, 1.0, 0.8249)
_FROM_D65 = (1.047882, 0.022919, -0.050217, 0.029587, 0.990484, -0.017079, -0.009251, 0.015076, 0.751678)
"""Bradford's adaptation to D50 of colours under D65."""


def _make_profile(name: str, colorants: Colorants, curve: bytes) -> bytes:
    """Return the profile of a display with white of D65."""
    start = struct.pack(">I4sI4s4s4s12x4s", 0, b"", 0x04400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header = start.ljust(68, b"\0") + _numbers(_D50)
    contents = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": b"XYZ \0\0\0\0" + _numbers(_D50),
        b"chad": b"sf32\0\0\0\0" + _numbers(_FROM_D65),
        **{tag: b"XYZ \0\0\0\0" + _numbers(values) for tag, values in colorants.items()},
        **dict.fromkeys(CURVES, curve),
    }
    return write_profile(header.ljust(128, b"\0"), contents)


def _numbers(values: tuple[float, ...]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _text(text: str) -> bytes:
    content = text.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(content), 28) + content

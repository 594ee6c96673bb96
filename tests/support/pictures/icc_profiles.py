"""ICC profiles for tests, built tag by tag: https://www.color.org/specification/ICC.1-2022-05.pdf"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
D65 = (0.95046, 1.0, 1.08906)

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
"""Chromaticities of red, green and blue; all three have the white of D65."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_xyz(primaries: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ under D50."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    native = columns * np.linalg.solve(columns, D65)
    gains = (_BRADFORD @ D50) / (_BRADFORD @ D65)
    return np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ native


def rgb_profile(primaries: Sequence[tuple[float, float]], curve: bytes) -> bytes:
    """Return the profile of a display."""
    matrix = to_xyz(primaries)
    colorants = {name: _xyz(matrix[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _profile(b"mntr", b"RGB ", b"XYZ ", colorants | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(curve: bytes) -> bytes:
    """Return the profile of a grey image."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def table_profile(space: bytes, corners: Mapping[tuple[int, ...], tuple[float, float, float]]) -> bytes:
    """Return the profile of a press or scanner, from the Lab values of none and all of its channels, linear between."""
    ramp, channels = bytes(range(256)), len(next(iter(corners)))
    entries = bytearray()
    for corner in product((0, 1), repeat=channels):
        lightness, a, b = corners[corner]
        entries += bytes((round(lightness * 2.55), round(a + 128), round(b + 128)))
    unity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes((channels, 3, 2, 0)) + unity + ramp * channels + bytes(entries) + ramp * 3
    return _profile(b"prtr", space, b"Lab ", {b"A2B0": table, b"A2B1": table})


def press_profile() -> bytes:
    """Return the profile of an imagined press, whose red is a dull one."""
    corners = {
        (c, m, y, k): (
            95 * (1 - 0.3 * c) * (1 - 0.4 * m) * (1 - 0.05 * y) * (1 - 0.85 * k),
            (50 * m - 30 * c) * (1 - 0.9 * k),
            (60 * y - 40 * c) * (1 - 0.9 * k),
        )
        for c, m, y, k in product((0, 1), repeat=4)
    }
    return table_profile(b"CMYK", corners)


def gamma(exponent: float) -> bytes:
    """Return a tone curve v = x ^ exponent."""
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)


def srgb_curve() -> bytes:
    """Return the tone curve of sRGB, which Display P3 shares."""
    parameters = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(value * 65536) for value in parameters))


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(kind: bytes, space: bytes, connection: bytes, contents: Mapping[bytes, bytes]) -> bytes:
    text = b"for tests\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    everything = {b"desc": description, b"cprt": b"text" + bytes(4) + text, b"wtpt": _xyz(D50), **contents}
    start = 132 + 12 * len(everything)
    table, body = b"", b""
    for name, content in everything.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, kind, space, connection)
    header = (header + bytes(12) + b"acsp").ljust(68, b"\0") + _xyz(D50)[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(everything)) + table + body


def to_light(values: np.ndarray) -> np.ndarray:
    """Return amounts of light, 0 to 1, from values of sRGB or Display P3, 0 to 1 (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_light(light: np.ndarray) -> np.ndarray:
    """Return values of sRGB or Display P3 from amounts of light."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.clip(light, 0, 1) ** (1 / 2.4) - 0.055)


def to_display_p3(pixels: np.ndarray) -> np.ndarray:
    """Return BGR pixels of sRGB as those that show the same colours on a display with P3."""
    light = to_light(pixels[:, :, ::-1] / 255) @ np.linalg.solve(to_xyz(DISPLAY_P3), to_xyz(SRGB)).T
    return np.rint(255 * from_light(light))[:, :, ::-1].astype(np.uint8)


def to_lab(pixels: np.ndarray, primaries: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return L*a*b* under D50 of BGR pixels with the tone curve of sRGB (CIE 15:2004)."""
    xyz = to_light(pixels[:, :, ::-1] / 255) @ to_xyz(primaries).T / D50
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(root, 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2)


def colour_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return ΔE*ab of each pixel, from L*a*b*."""
    return np.linalg.norm(one - other, axis=2)

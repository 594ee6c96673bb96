"""Curves: 16-bit pixels become sRGB in 16 bits, by profiles that consist of tone curves and a matrix.

Those of cameras, displays and editors do; LittleCMS in Pillow has 8 bits.
https://www.color.org/specification/ICC.1-2022-05.pdf, sections 8.3.3 (matrix), 10.6 and 10.18 (curves)
"""

import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.steps.colour.alpha import bands
from penstock.steps.colour.icc import CURVES, PRIMARIES, ColourSpace, ProfileError, read_tags
from penstock.steps.image import Pixels

Numbers = NDArray[Any]

_FULL = 65_535
_LIGHT_STEPS = 1 << 18
"""Amounts of light that are told apart, so that the darkest values of sRGB are within 2 of 65,535."""

_TABLES = {b"A2B0", b"A2B1", b"A2B2"}
_GREY_CURVE = b"kTRC"
_MAX_SAMPLES = 32_767
"""Most samples of a curve, as in LittleCMS; cameras and displays have up to 4,096."""


def has_curves_alone(profile: bytes, space: ColourSpace) -> bool:
    """Return whether a profile consists of curves, and a matrix for RGB. Raises ProfileError: it is damaged."""
    tags = read_tags(profile)
    needed = {_GREY_CURVE} if space == "GRAY" else {*PRIMARIES, *CURVES}
    return profile[20:24] == b"XYZ " and needed <= tags.keys() and not _TABLES & tags.keys()


def to_srgb_by_curves(pixels: Pixels, profile: bytes, space: ColourSpace) -> Pixels:
    """Return `uint16` pixels, BGR or BGRA, as sRGB, by a profile that `has_curves_alone`.

    Raises:
        ProfileError: the profile is damaged.
    """
    tags = read_tags(profile)
    if space == "GRAY":
        curves, matrix = [_read_curve(tags[_GREY_CURVE])] * 3, np.eye(3)
    else:
        curves = [_read_curve(tags[name]) for name in CURVES]
        colorants = [_read_xyz(tags[name]) for name in PRIMARIES]
        matrix = np.linalg.solve(np.transpose([*PRIMARIES.values()]), np.transpose(colorants))
    values = _srgb_values()
    made = pixels.copy()
    for top, bottom in bands(pixels):
        _convert(made[top:bottom], curves, matrix.astype(np.float32), values)
    return made


def _convert(pixels: Pixels, curves: list[Numbers], matrix: Numbers, values: Pixels) -> None:
    """Convert pixels in place. The sums are written out, as those of a linear algebra library depend on the host."""
    red, green, blue = (curve[pixels[:, :, channel]] for curve, channel in zip(curves, (2, 1, 0), strict=True))
    for row, channel in zip(matrix, (2, 1, 0), strict=True):
        light = row[0] * red + row[1] * green + row[2] * blue
        steps = np.rint(np.clip(light, 0, 1) * np.float32(_LIGHT_STEPS - 1)).astype(np.int32)
        pixels[:, :, channel] = values[steps]


@lru_cache(maxsize=1)
def _srgb_values() -> Pixels:
    """Return the value of sRGB for each amount of light (IEC 61966-2-1)."""
    light = np.linspace(0, 1, _LIGHT_STEPS)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(_FULL * values), np.uint16)


def _read_curve(data: bytes) -> Numbers:
    """Return the amount of light, 0 to 1, for each value of 16 bits."""
    read = {b"curv": _read_sampled_curve, b"para": _read_formula}.get(data[:4])
    if read is None:
        raise ProfileError(f"the profile has a curve of type {data[:4]!r}; accepted are curv and para")
    try:
        with np.errstate(all="ignore"):
            light = read(data, np.linspace(0, 1, _FULL + 1))
    except (struct.error, ValueError) as error:
        raise ProfileError("the profile has a damaged curve") from error
    return np.asarray(np.clip(np.nan_to_num(light), 0, 1), np.float32)


def _read_sampled_curve(data: bytes, given: Numbers) -> Numbers:
    (count,) = struct.unpack_from(">I", data, 8)
    if count > _MAX_SAMPLES:
        raise ProfileError(f"the profile has a curve of {count} samples; accepted are up to {_MAX_SAMPLES}")
    if count == 0:
        return given
    if count == 1:
        (exponent,) = struct.unpack_from(">H", data, 12)
        return np.asarray(given ** (exponent / 256))
    samples = np.frombuffer(data, ">u2", count, 12) / _FULL
    return np.interp(given, np.linspace(0, 1, count), samples)


_PARAMETERS = (1, 3, 4, 5, 7)
"""How many parameters each type of formula has."""


def _read_formula(data: bytes, given: Numbers) -> Numbers:
    """Return (a·x + b) ^ g + e where x is at least d, and c·x + f below."""
    (kind,) = struct.unpack_from(">H", data, 8)
    if kind >= len(_PARAMETERS):
        raise ProfileError(f"the profile has a curve of formula {kind}; accepted are 0 to 4")
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{_PARAMETERS[kind]}i", data, 12))
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b, *offset = rest
        d = -b / a if a else 0.0
        e = f = offset[0] if offset else 0.0
    elif kind:
        a, b, c, d, *offsets = rest
        e, f = offsets or (0.0, 0.0)
    return np.where(given >= d, np.maximum(a * given + b, 0) ** g + e, c * given + f)


def _read_xyz(data: bytes) -> list[float]:
    try:
        return [value / 65536 for value in struct.unpack_from(">3i", data, 8)]
    except struct.error as error:
        raise ProfileError("the profile has a damaged colorant") from error

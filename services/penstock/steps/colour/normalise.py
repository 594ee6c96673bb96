"""Normalise: the pixels of a file become those that the steps get, by a job's `depth`, `profile` and `alpha`."""

from dataclasses import dataclass

import cv2

from penstock.common.model.operations import Decode
from penstock.steps.colour.alpha import flatten
from penstock.steps.colour.depth import DEPTH_REDUCED, reduce_depth
from penstock.steps.image import Pixels


@dataclass(frozen=True, slots=True)
class Normalised:
    """Pixels for the steps: `H×W×3`, or `H×W×4` where transparency is kept; `uint8`, or `uint16` where 16 bits are.

    `warnings` say what was lost, as codes.
    """

    pixels: Pixels
    warnings: tuple[str, ...] = ()


def normalise(pixels: Pixels, params: Decode) -> Normalised:
    """Return a file's pixels, BGR or BGRA in 8 or 16 bits, in the form that a job wants."""
    warnings: tuple[str, ...] = ()
    if params.depth == "8" and pixels.dtype.itemsize > 1:
        pixels = reduce_depth(pixels)
        warnings = (DEPTH_REDUCED,)
    if pixels.shape[2] == 4 and params.alpha != "keep":
        pixels = _without_alpha(pixels, params)
    return Normalised(pixels, warnings)


def _without_alpha(pixels: Pixels, params: Decode) -> Pixels:
    if params.alpha == "drop":
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    red, green, blue = bytes.fromhex(params.background[1:])
    return flatten(pixels, (blue, green, red))

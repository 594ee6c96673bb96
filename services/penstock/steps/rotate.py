"""Rotate: an image is flipped, and turned clockwise by an angle."""

import math

import cv2
import numpy as np

from penstock.common.model.geometry import Rotate
from penstock.steps.colour.alpha import premultiplied, unpremultiplied
from penstock.steps.image import Pixels, StepOutput, opaque_colour, translate_opencv_errors
from penstock.steps.transform import IDENTITY, Transform, shifting


def rotate(image: Pixels, params: Rotate) -> StepOutput:
    """Return the image flipped, then turned.

    Flips and quarter turns only move pixels (`cv2.flip`, `cv2.rotate`). Other angles interpolate (`cv2.warpAffine`)
    around the image's middle, which becomes the middle of the result. Colours are weighted by alpha if there is any.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    height, width = image.shape[:2]
    quarters = params.quarter_turns(width, height)
    with translate_opencv_errors(image, f"turned by {params.angle:g} degrees"):
        flipped = image if params.flip == "none" else cv2.flip(image, _FLIPS[params.flip])
        if quarters is None:
            pixels, turning = _turn(flipped, params)
        else:
            pixels = cv2.rotate(flipped, _QUARTERS[quarters]) if quarters else flipped
            turning = _quarter(quarters, width, height)
    return StepOutput(pixels, _flipping(params.flip, width, height).then(turning))


def _turn(image: Pixels, params: Rotate) -> tuple[Pixels, Transform]:
    height, width = image.shape[:2]
    size = params.size(width, height)
    cosine, sine = math.cos(math.radians(params.angle)), math.sin(math.radians(params.angle))
    turning = Transform(xx=cosine, xy=-sine, yx=sine, yy=cosine)
    turning = shifting(-width / 2, -height / 2).then(turning).then(shifting(size[0] / 2, size[1] / 2))
    pixels = premultiplied(image) if image.shape[2] == 4 else image
    pixels = cv2.warpAffine(
        pixels,
        _between_centres(turning),
        size,
        flags=_interpolation(image, params.interpolation),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_border(image, params.background),
    )
    return (unpremultiplied(pixels, image.dtype) if image.shape[2] == 4 else pixels), turning


def _interpolation(image: Pixels, name: str) -> int:
    """Return OpenCV's number; cubic and lanczos4 overshoot, by which colours no longer go with their alpha."""
    return cv2.INTER_LINEAR if image.shape[2] == 4 and name != "nearest" else _INTERPOLATIONS[name]


def _between_centres(turning: Transform) -> Pixels:
    """Return a map as OpenCV has it, in whose positions (0, 0) is the centre of the first pixel."""
    moved = shifting(0.5, 0.5).then(turning).then(shifting(-0.5, -0.5))
    return np.array(moved, np.float64).reshape(2, 3)


def _border(image: Pixels, background: str) -> tuple[int, ...]:
    """Return the colour of the corners; they are clear where the image has alpha."""
    if image.shape[2] == 4:
        return (0, 0, 0, 0)
    return opaque_colour(background, image.dtype)[:3]


def _flipping(flip: str, width: int, height: int) -> Transform:
    if flip == "none":
        return IDENTITY
    across, down = flip != "vertical", flip != "horizontal"
    return Transform(xx=-1 if across else 1, x0=width if across else 0, yy=-1 if down else 1, y0=height if down else 0)


def _quarter(turns: int, width: int, height: int) -> Transform:
    """Return the map of quarter turns clockwise of an image of a size."""
    return (
        IDENTITY,
        Transform(xx=0, xy=-1, x0=height, yx=1, yy=0),
        Transform(xx=-1, x0=width, yy=-1, y0=height),
        Transform(xx=0, xy=1, yx=-1, yy=0, y0=width),
    )[turns]


_FLIPS = {"vertical": 0, "horizontal": 1, "both": -1}
_QUARTERS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}
_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos4": cv2.INTER_LANCZOS4,
}

"""Colour profile: pixels become sRGB by LittleCMS, as Pillow has it.

Relative colorimetric with black point compensation, which keeps every colour that sRGB can show and scales the darkest
of the source to that of sRGB: https://www.color.org/WP40-Black_Point_Compensation_2010-07-27.pdf
"""

import io
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from penstock.steps.colour.alpha import bands
from penstock.steps.colour.icc import ColourSpace, ProfileError, for_conversion
from penstock.steps.image import Pixels

_MODES = {"RGB": "RGBX", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's names of colour spaces, each with as many bytes per pixel as its arrays have."""

_Conversion = Callable[[Pixels], Pixels]


def is_srgb(profile: bytes) -> bool:
    """Return whether a profile of RGB leaves every colour as it is in sRGB, but for rounding.

    Raises:
        ProfileError: the profile is damaged.
    """
    convert = _conversion(profile, "RGB")
    return int(cv2.absdiff(_SAMPLED, convert(_as_file(_SAMPLED, "RGB"))).max()) <= 1


_LEVELS = np.arange(0, 256, 17).astype(np.uint8)
_SAMPLED = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS), axis=3).reshape(1, -1, 3)


def to_srgb(pixels: Pixels, profile: bytes, space: ColourSpace) -> Pixels:
    """Return pixels as sRGB, BGR or BGRA, in 8 bits.

    Args:
        pixels: `uint8`: `H×W×3` BGR or `H×W×4` BGRA of `RGB`; the same with equal channels of `GRAY`; of `CMYK`
            `H×W×4`, where 255 is full ink.
        profile: an ICC profile.
        space: what the pixels are; the profile has to be for that.

    Raises:
        ProfileError: the profile is damaged.
    """
    convert = _conversion(profile, space)
    channels = 3 if space == "CMYK" else pixels.shape[2]
    made = np.empty((*pixels.shape[:2], channels), np.uint8)
    for top, bottom in bands(pixels):
        part = pixels[top:bottom]
        colours = convert(_as_file(part, space))
        made[top:bottom] = colours if channels == 3 else cv2.merge([*cv2.split(colours), cv2.extractChannel(part, 3)])
    return made


def _as_file(pixels: Pixels, space: ColourSpace) -> Pixels:
    """Return pixels with the channels that LittleCMS takes."""
    if space == "CMYK":
        return np.ascontiguousarray(pixels)
    if space == "GRAY":
        return cv2.extractChannel(pixels, 0)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGBA if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


@lru_cache(maxsize=4)
def _conversion(profile: bytes, space: ColourSpace) -> _Conversion:
    """Return what converts a band of pixels, as `_as_file` has them, to BGR. Raises ProfileError."""
    from PIL import Image, ImageCms

    mode = _MODES[space]
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(for_conversion(profile))),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGBX",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise ProfileError(f"the colour profile cannot be used: {error}") from error

    def convert(band: Pixels) -> Pixels:
        height, width = band.shape[:2]
        given = Image.frombuffer(mode, (width, height), band, "raw", mode, 0, 1)
        return cv2.cvtColor(np.asarray(transform.apply(given)), cv2.COLOR_RGBA2BGR)

    return convert


def cmyk_to_srgb(pixels: Pixels) -> Pixels:
    """Return CMYK without a profile, where 255 is full ink, as BGR: each ink takes away its share of one colour.

    This is the conversion of CSS (https://www.w3.org/TR/css-color-5/#cmyk-rgb) and of OpenCV; real inks are duller.
    """
    made = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top, bottom in bands(pixels):
        cyan, magenta, yellow, black = cv2.split(cv2.bitwise_not(pixels[top:bottom]))
        made[top:bottom] = cv2.merge([cv2.multiply(light, black, scale=1 / 255) for light in (yellow, magenta, cyan)])
    return made

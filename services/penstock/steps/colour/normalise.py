"""Normalise: the pixels of a file become those that the steps get, by a job's `depth`, `profile` and `alpha`."""

from dataclasses import dataclass, replace

import cv2

from penstock.common.model.operations import Decode
from penstock.steps.colour.alpha import flatten
from penstock.steps.colour.curves import has_curves_alone, to_srgb_by_curves
from penstock.steps.colour.depth import DEPTH_REDUCED, reduce_depth
from penstock.steps.colour.icc import ColourSpace, ProfileError, make_rgb_profile
from penstock.steps.colour.profile import cmyk_to_srgb, is_srgb, to_srgb
from penstock.steps.image import Pixels, opaque_colour
from penstock.steps.metadata.icc import PROFILE_INVALID, colour_space

PROFILE_MISMATCH = "profile_mismatch"
"""Warning: the file's colour profile is for another colour space than its pixels', and was ignored."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """Pixels for the steps: `H×W×3`, or `H×W×4` where transparency is kept; `uint8`, or `uint16` where 16 bits are.

    `profile` is the ICC profile by which they are to be seen, empty for sRGB or none. `warnings` say what was lost, as
    codes.
    """

    pixels: Pixels
    profile: bytes = b""
    warnings: tuple[str, ...] = ()

    def warn(self, code: str) -> "Normalised":
        """Return the same with a warning, once."""
        return self if code in self.warnings else replace(self, warnings=(*self.warnings, code))


def normalise(pixels: Pixels, profile: bytes, space: ColourSpace, params: Decode) -> Normalised:
    """Return a file's pixels in the form that a job wants.

    Args:
        pixels: BGR, BGRA or CMYK, in 8 or 16 bits, as a `RawImage` has them.
        profile: the file's ICC profile, empty if it has none.
        space: the file's colour space.
        params: what the job wants.
    """
    image = Normalised(pixels, profile)
    if params.depth == "8":
        image = _reduce_depth(image)
    if space == "CMYK":
        return _from_cmyk(image)
    if params.profile == "drop":
        image = replace(image, profile=b"")
    elif profile:
        image = _apply_profile(image, space, params)
    return _apply_alpha(image, params)


def _reduce_depth(image: Normalised) -> Normalised:
    if image.pixels.dtype.itemsize == 1:
        return image
    return replace(image.warn(DEPTH_REDUCED), pixels=reduce_depth(image.pixels))


def _from_cmyk(image: Normalised) -> Normalised:
    """Return CMYK as sRGB, by its profile if it has one, whatever the job wants: results are never CMYK."""
    image = _reduce_depth(image)
    if image.profile and colour_space(image.profile) == "CMYK":
        try:
            return replace(image, pixels=to_srgb(image.pixels, image.profile, "CMYK"), profile=b"")
        except ProfileError:
            image = image.warn(PROFILE_INVALID)
    elif image.profile:
        image = image.warn(PROFILE_MISMATCH)
    return replace(image, pixels=cmyk_to_srgb(image.pixels), profile=b"")


def _apply_profile(image: Normalised, space: ColourSpace, params: Decode) -> Normalised:
    named = colour_space(image.profile)
    try:
        if named not in ("RGB", space):
            return replace(image.warn(PROFILE_MISMATCH), profile=b"")
        if params.profile == "srgb":
            return _to_srgb(image, "RGB" if named == "RGB" else "GRAY")
        return image if named == "RGB" else replace(image, profile=make_rgb_profile(image.profile))
    except ProfileError:
        return replace(image.warn(PROFILE_INVALID), profile=b"")


def _to_srgb(image: Normalised, space: ColourSpace) -> Normalised:
    """Convert pixels by their profile; with 16 bits if it has curves alone, as most have but those of printers."""
    if space == "RGB" and is_srgb(image.profile):
        return replace(image, profile=b"")
    if image.pixels.dtype.itemsize > 1 and has_curves_alone(image.profile, space):
        return replace(image, pixels=to_srgb_by_curves(image.pixels, image.profile, space), profile=b"")
    image = _reduce_depth(image)
    return replace(image, pixels=to_srgb(image.pixels, image.profile, space), profile=b"")


def _apply_alpha(image: Normalised, params: Decode) -> Normalised:
    if image.pixels.shape[2] == 3 or params.alpha == "keep":
        return image
    return replace(image, pixels=_without_alpha(image.pixels, params))


def _without_alpha(pixels: Pixels, params: Decode) -> Pixels:
    if params.alpha == "drop":
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    return flatten(pixels, opaque_colour(params.background)[:3])

"""Adjust: brightness, contrast, gamma, saturation and sharpness.

Values are taken as they are in the file, from 0 to 1, whatever its colour profile. With C' the value of a channel:

- brightness b: C' → b·C', and contrast k: C' → k·(C' - ½) + ½, cut to 0 … 1 (W3C Filter Effects Module Level 1,
  `brightness()` and `contrast()`)
- gamma g: C' → C'^(1/g)
- saturation s: C' → Y' + s·(C' - Y'), where Y' = 0.2126·R' + 0.7152·G' + 0.0722·B' is the luma of Rec. ITU-R BT.709-6,
  3.2 (as `saturate()` there); grayscale is s = 0
- sharpen a: C' → C' + a·(C' - G), where G is C' blurred by a Gaussian: unsharp masking (Gonzalez and Woods, Digital
  Image Processing, 4th edition, 3.6)
"""

from functools import lru_cache
from math import floor

import cv2
import numpy as np

from penstock.common.model.effects import Adjust
from penstock.steps.colour.alpha import weight_by_alpha
from penstock.steps.image import Pixels, translate_opencv_errors

LUMA = (0.0722, 0.7152, 0.2126)
"""Shares of blue, green and red in luma."""


def adjust(image: Pixels, params: Adjust) -> Pixels:
    """Return the image adjusted, of the same size; itself where all parameters are neutral. Alpha stays as it is.

    Brightness, contrast and gamma are rounded once, together; saturation and sharpening once each. The matrix of
    saturation is `cv2.transform`, whose coefficients have 10 bits for `uint8`.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    colours = image
    with translate_opencv_errors(image, "adjusted"):
        if image.shape[2] == 4 and not params.does_nothing:
            colours = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
        if params.changes_tones:
            colours = cv2.LUT(colours, tone_curve(params.brightness, params.contrast, params.gamma, colours.dtype))
        if params.changes_colors:
            colours = cv2.transform(colours, _saturate(0 if params.grayscale else params.saturation))
        if params.sharpen:
            colours = _sharpen(colours, image, params)
        if colours.shape[2] < image.shape[2]:
            colours = cv2.merge([*cv2.split(colours), cv2.extractChannel(image, 3)])
    return colours


def _sharpen(colours: Pixels, image: Pixels, params: Adjust) -> Pixels:
    """Return colours sharpened; of `image`, alpha says how much each pixel counts for those around."""

    def blur(given: Pixels) -> Pixels:
        return cv2.GaussianBlur(given, (0, 0), params.sharpen_sigma)

    if image.shape[2] == 3:
        blurred = blur(colours)
    else:
        weighted = weight_by_alpha(cv2.merge([*cv2.split(colours), cv2.extractChannel(image, 3)]), blur)
        blurred = cv2.cvtColor(weighted, cv2.COLOR_BGRA2BGR)
    return cv2.addWeighted(colours, 1 + params.sharpen, blurred, -params.sharpen, 0)


@lru_cache(maxsize=8)
def tone_curve(brightness: float, contrast: float, gamma: float, dtype: "np.dtype[np.uint8 | np.uint16]") -> Pixels:
    """Return the new value of every possible one, by brightness, contrast and gamma.

    Not computed by NumPy, whose powers differ in the last bit from processor to processor.
    """
    full = int(np.iinfo(dtype).max)
    moved = (contrast * (brightness * value / full - 0.5) + 0.5 for value in range(full + 1))
    return np.array([floor(min(max(value, 0.0), 1.0) ** (1 / gamma) * full + 0.5) for value in moved], dtype)


def _saturate(amount: float) -> Pixels:
    """Return the matrix that moves colours away from their luma."""
    return (amount * np.eye(3) + (1 - amount) * np.array([LUMA] * 3)).astype(np.float32)

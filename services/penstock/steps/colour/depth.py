"""Depth: 16 bits per channel, reduced to 8."""

import numpy as np

from penstock.steps.image import Pixels

DEPTH_REDUCED = "depth_reduced"
"""Warning: the file has more than 8 bits per channel, and the result has not."""


def reduce_depth(pixels: Pixels) -> Pixels:
    """Return `uint16` pixels as `uint8`, the upper 8 bits of each value as OpenCV has them; others unchanged."""
    if pixels.dtype == np.uint8:
        return pixels
    made = np.empty(pixels.shape, np.uint8)
    np.right_shift(pixels, 8, out=made, casting="unsafe")  # in pieces, without another array of 16 bits
    return made

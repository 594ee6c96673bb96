"""Alpha: flattening onto a background, and filters that weight colours by their opacity.

Files hold colours that are not multiplied by alpha, with anything at all below transparent pixels. A filter that mixes
neighbours has to multiply first (Porter and Duff, doi:10.1145/800031.808606), or hidden colours bleed into edges.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from penstock.steps.image import Pixels

_BAND_PIXELS = 1 << 16
"""Pixels that are computed at once: their temporary arrays fit in the processor's cache."""


def flatten(pixels: Pixels, background: tuple[int, int, int]) -> Pixels:
    """Return `H×W×4` as it looks on a background, `H×W×3`, rounded to nearest.

    `background` is BGR in 8 bits, whatever the depth of the pixels.
    """
    if is_opaque(pixels):
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    made = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for top, bottom in bands(pixels):
        _flatten_band(pixels[top:bottom], background, made[top:bottom])
    return made


def _flatten_band(pixels: Pixels, background: tuple[int, int, int], made: Pixels) -> None:
    bits = pixels.dtype.itemsize * 8
    full = (1 << bits) - 1
    alpha = pixels[:, :, 3].astype(np.uint32)
    below = full - alpha
    for channel, level in enumerate(background):
        total = pixels[:, :, channel] * alpha
        total += below * np.uint32(level * full // 255)
        total += 1 << (bits - 1)
        total += total >> bits  # with the next shift this is division by 2ⁿ - 1, rounded
        total >>= bits
        made[:, :, channel] = total


def is_opaque(pixels: Pixels) -> bool:
    """Return whether no pixel shows what is below it."""
    return pixels.shape[2] == 3 or bool(pixels[:, :, 3].min() == np.iinfo(pixels.dtype).max)


def weight_by_alpha(pixels: Pixels, mix: Callable[[Pixels], Pixels]) -> Pixels:
    """Return what `mix` makes of an image, with transparent pixels counting as little as they show.

    `mix` is a function that computes each pixel from several, such as a blur or a resize. It gets `uint8` or `uint16`
    as they are, or premultiplied pixels if some are transparent: see there for their type.
    """
    if is_opaque(pixels):
        return mix(pixels)
    return unpremultiplied(mix(premultiplied(pixels)), pixels.dtype)


def filter_colours(pixels: Pixels, filtering: Callable[[Pixels], Pixels], reach: int) -> Pixels:
    """Return an image with its colours filtered, and alpha as it was.

    `filtering` is a function for three channels that cannot be weighted, such as a median. It gets invisible pixels
    with the mean colour of the visible ones around (Knutsson and Westin, doi:10.1109/CVPR.1993.341081, with a box).

    Args:
        pixels: `H×W×3` or `H×W×4`.
        filtering: returns pixels of the same shape.
        reach: how many pixels away a pixel can change the result.
    """
    if pixels.shape[2] == 3:
        return filtering(pixels)
    colours = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    for top, bottom in bands(pixels):
        _show_around(pixels, colours, reach, top, bottom)
    return cv2.merge([*cv2.split(filtering(colours)), cv2.extractChannel(pixels, 3)])


def _show_around(pixels: Pixels, colours: Pixels, reach: int, top: int, bottom: int) -> None:
    """Set the colours of invisible pixels in some rows to the mean of the visible ones around."""
    hidden = pixels[top:bottom, :, 3] == 0
    if hidden.any():
        start, side = max(0, top - reach), 2 * reach + 1
        blurred = cv2.blur(premultiplied(pixels[start : bottom + reach]), (side, side))
        around = unpremultiplied(blurred[top - start : bottom - start], pixels.dtype)
        colours[top:bottom][hidden] = around[hidden, :3]


def premultiplied(pixels: Pixels) -> Pixels:
    """Return `H×W×4` pixels with each colour multiplied by alpha.

    `uint8` becomes `uint16`, without loss: colours and alpha are 0 to 255². `uint16` becomes `float32`, 0 to 65535.
    """
    full = np.iinfo(pixels.dtype).max
    deep = pixels.dtype == np.uint16
    made = np.empty(pixels.shape, np.float32 if deep else np.uint16)
    for top, bottom in bands(pixels):
        part = pixels[top:bottom]
        alpha = cv2.extractChannel(part, 3)
        weights = cv2.merge([alpha, alpha, alpha, np.full_like(alpha, full)])
        scale, depth = (1 / full, cv2.CV_32F) if deep else (1.0, cv2.CV_16U)
        made[top:bottom] = cv2.multiply(part, weights, scale=scale, dtype=depth)
    return made


def unpremultiplied(pixels: Pixels, dtype: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    """Return the result of a filter on `premultiplied` pixels with colours of full strength, as `dtype` again.

    Wholly transparent pixels become black.
    """
    full = int(np.iinfo(dtype).max)
    strength, least = (full * full, 1) if pixels.dtype == np.uint16 else (full, 1 / full)  # of alpha 1, and above 0
    made = np.empty(pixels.shape, dtype)
    for top, bottom in bands(pixels):
        part = pixels[top:bottom]
        alpha = np.maximum(cv2.extractChannel(part, 3), pixels.dtype.type(least))
        weights = cv2.merge([alpha, alpha, alpha, np.full_like(alpha, strength)])
        depth = cv2.CV_8U if dtype == np.uint8 else cv2.CV_16U
        made[top:bottom] = cv2.divide(part, weights, scale=full, dtype=depth)
    return made


def bands(pixels: Pixels) -> Iterator[tuple[int, int]]:
    """Yield (first, after) of the rows to compute at once, which bounds temporary arrays."""
    height, width = pixels.shape[:2]
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)

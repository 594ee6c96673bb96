"""Hide: regions of an image are blurred so that nobody can compute back what they showed.

The measure: a result depends on a region's pixels through at most `samples` × `samples` means and nothing else (through
none with `fill`). All images with the same means have the same result, so that no deconvolution can tell them apart. A
Gaussian blur alone is not enough: it is linear, keeps one equation for each pixel, and can be undone in part.

The default of 4 is far below the 18 to 15 means across a face between which its identification drops steeply (Bachmann
1991, doi:10.1080/09541449108406221). A classifier that was trained on mosaics of the same known persons can still do
better than chance with few means (McPherson, Shokri and Shmatikov 2016, arXiv:1609.00408): `fill` alone leaves nothing.

The soft edge lies around a region, never in it, where it would let pixels shine through.
"""

from collections.abc import Callable, Iterable
from math import ceil, floor

import cv2
import numpy as np

from penstock.common.model.effects import Blur
from penstock.common.model.regions import Region
from penstock.steps.colour.alpha import weight_by_alpha
from penstock.steps.image import Pixels, opaque_colour
from penstock.steps.transform import IDENTITY, move_regions

_BAND_ROWS = 256
"""Rows that are blended at once, which bounds temporary arrays."""
_CELL = 16
"""Pixels for each mean while they are made smooth."""


def hide(image: Pixels, regions: Iterable[Region], params: Blur) -> Pixels:
    """Return the image with its regions hidden by gaussian, pixelate or fill; itself if no region is on it."""
    height, width = image.shape[:2]
    made = image
    for region in move_regions(regions, IDENTITY, width, height):
        made = image.copy() if made is image else made
        _hide_region(made, region, params)
    return made


def pixelate(pixels: Pixels, columns: int, rows: int) -> Pixels:
    """Return an image as a mosaic of the means of `columns` × `rows` areas."""
    return cv2.resize(_means(pixels, columns, rows), pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def fill(pixels: Pixels, color: str) -> Pixels:
    """Return an opaque image of the same shape in one colour, `#rrggbb`."""
    made = np.empty_like(pixels)
    made[:] = opaque_colour(color, pixels.dtype)[: pixels.shape[2]]
    return made


def _smooth(pixels: Pixels, columns: int, rows: int) -> Pixels:
    """Return an image as its means blurred into each other."""
    cells = cv2.resize(_means(pixels, columns, rows), (columns * _CELL, rows * _CELL), interpolation=cv2.INTER_NEAREST)
    blurred = cv2.GaussianBlur(cells, (0, 0), _CELL / 2, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(blurred, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _means(pixels: Pixels, columns: int, rows: int) -> Pixels:
    return weight_by_alpha(pixels, lambda given: cv2.resize(given, (columns, rows), interpolation=cv2.INTER_AREA))


def _hide_region(image: Pixels, region: Region, params: Blur) -> None:
    """Change the pixels of a region that lies in the image."""
    height, width = image.shape[:2]
    left, top, right, bottom = _bounds(region)
    radius = ceil(params.feather * min(right - left, bottom - top) / 2)
    outer_left, outer_top = max(0, left - 2 * radius), max(0, top - 2 * radius)
    outer_right, outer_bottom = min(width, right + 2 * radius), min(height, bottom + 2 * radius)
    margins = (top - outer_top, outer_bottom - bottom, left - outer_left, outer_right - right)
    cover = _cover(image[top:bottom, left:right], params)
    cover = cv2.copyMakeBorder(cover, *margins, cv2.BORDER_REPLICATE)
    mask = _mask(region, (outer_left, outer_top), cover.shape, radius)
    _blend(image[outer_top:outer_bottom, outer_left:outer_right], cover, mask)


def _cover(pixels: Pixels, params: Blur) -> Pixels:
    """Return what is shown instead of a region's bounding box."""
    if params.method == "fill":
        return fill(pixels, params.color)
    height, width = pixels.shape[:2]
    columns, rows = (_count(side, max(width, height), params.samples) for side in (width, height))
    method: Callable[..., Pixels] = pixelate if params.method == "pixelate" else _smooth
    return method(pixels, columns, rows)


def _count(side: int, longer: int, samples: int) -> int:
    """Return how many means are left along a side; even of a tiny region, each is of two pixels or more."""
    return max(1, min(round(side * samples / longer), side // 2))


def _mask(region: Region, origin: tuple[int, int], shape: tuple[int, ...], radius: int) -> Pixels:
    """Return 255 in every pixel that a region touches, falling to 0 outside of it within 2·radius pixels."""
    mask: Pixels = np.zeros(shape[:2], np.uint8)
    if region.box is not None:
        left, top, right, bottom = _bounds(region)
        mask[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]] = 255
    else:
        _draw_polygon(mask, np.array(region.corners) - origin)
    side = 2 * radius + 1
    grown = cv2.dilate(mask, np.ones((side, side), np.uint8))
    return cv2.blur(grown, (side, side), borderType=cv2.BORDER_REPLICATE)


def _draw_polygon(mask: Pixels, corners: Pixels) -> None:
    """Set every pixel that a polygon touches, and perhaps the next."""
    last = np.array(mask.shape[1::-1]) - 1
    cv2.fillPoly(mask, [np.clip(np.floor(corners), 0, last).astype(np.int32)], 255)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, outlines, -1, 255, cv2.FILLED)  # and what an outline that crosses itself leaves out
    cv2.dilate(mask, np.ones((3, 3), np.uint8), dst=mask)


def _bounds(region: Region) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels that a region touches."""
    xs, ys = zip(*region.corners, strict=True)
    return floor(min(xs)), floor(min(ys)), ceil(max(xs)), ceil(max(ys))


def _blend(image: Pixels, cover: Pixels, mask: Pixels) -> None:
    """Put a cover over an image, as opaque as the mask."""
    for start in range(0, len(mask), _BAND_ROWS):
        rows = slice(start, start + _BAND_ROWS)
        below, above, share = image[rows], cover[rows], mask[rows]
        below[share == 255] = above[share == 255]
        edge = (share > 0) & (share < 255)
        weight = share[edge].astype(np.uint32)[:, None]
        below[edge] = (below[edge] * (255 - weight) + above[edge] * weight + 127) // 255

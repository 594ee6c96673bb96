"""Area: `cv2.resize` with `INTER_AREA`, bit for bit, in less time where a large image becomes a small one.

OpenCV adds the pixels of an area one by one (`ResizeArea_Invoker` in its `resize.cpp`). Here the rows of an area are
added first, by functions of OpenCV that use vector instructions, and the few columns that are left afterwards. Sums of
floats depend on their order, in the last bits only: a mean that is near a half, where these bits could decide how it is
rounded, is calculated again in OpenCV's order.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from penstock.steps.image import Pixels

_LEAST_PIXELS_PER_ROW = 3_500
"""Pixels of the image per row of the result; with fewer, calls from Python cost more than the vectors save."""

_MAX_SHARE = 0.01
"""Share of means near a half above which OpenCV calculates the whole result; photographs have about a thousandth."""

_BAND_ROWS = 32
"""Rows of the result that are made at once, in memory that the processor's cache can hold."""

_LEAST_PART = 1e-3
"""OpenCV ignores smaller parts of a pixel at the edge of an area."""

_HALF_ULP = 2.0**-24

Floats = NDArray[np.float32]
Indexes = NDArray[np.intp]


class _Axis(NamedTuple):
    """Which rows, or columns, make each one of a result: the index of the first, and the weights of all, 0 at the end.

    `rounded` are the weights as OpenCV has them.
    """

    first: Indexes
    weights: NDArray[np.float64]
    rounded: Floats


def resize_by_area(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Return the pixels of `cv2.resize(image, size, interpolation=cv2.INTER_AREA)`; `size` is width and height."""
    made = _resize_by_rows(image, size) if _is_worthwhile(image, size) else None
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if made is None else made


def _is_worthwhile(image: Pixels, size: tuple[int, int]) -> bool:
    """Return whether adding by rows is faster. OpenCV is as fast where both sides are divided by whole numbers."""
    height, width = image.shape[:2]
    if image.dtype != np.uint8 or image.shape[2] != 3 or size[0] > width or 2 * size[1] > height:
        return False
    if width * height < _LEAST_PIXELS_PER_ROW * size[1] or not (width % size[0] or height % size[1]):
        return False
    return _rounds_as_opencv()


@lru_cache(maxsize=1)
def _rounds_as_opencv() -> bool:
    """Return whether OpenCV's floats are those of `_average_in_order`.

    Where it was compiled to multiply and add in one instruction, it rounds once instead of twice.
    """
    image = np.random.default_rng(1).random((61, 83, 3), np.float32)
    rows, columns = _find_weights(61, 17), _find_weights(83, 23)
    found = _average_in_order(image, rows, columns, np.arange(17 * 23 * 3))
    return np.array_equal(found.reshape(17, 23, 3), cv2.resize(image, (23, 17), interpolation=cv2.INTER_AREA))


def _resize_by_rows(image: Pixels, size: tuple[int, int]) -> Pixels | None:
    """Return the result, or None if too many of its means are near a half."""
    rows, columns = _find_weights(image.shape[0], size[1]), _find_weights(image.shape[1], size[0])
    error = _bound_error(len(rows.weights[0]), len(columns.weights[0]))
    made = np.empty((size[1], size[0] * 3), np.uint8)
    left = int(made.size * _MAX_SHARE)
    if 4 * error > _MAX_SHARE:
        return None
    near: list[Indexes] = []
    for top in range(0, size[1], _BAND_ROWS):
        means = _average_band(image, rows, top, size)
        rounded = np.rint(means)
        made[top : top + len(means)] = rounded
        means -= rounded
        near.append(np.flatnonzero(np.abs(means, out=means) > 0.5 - error) + top * made.shape[1])
        left -= len(near[-1])
        if left < 0:
            return None
    again = np.concatenate(near)
    made.reshape(-1)[again] = np.rint(_average_in_order(image, rows, columns, again))
    return made.reshape(size[1], size[0], 3)


def _bound_error(rows: int, columns: int) -> float:
    """Return how far a mean can be from OpenCV's, of at most 255 and an area of `rows` × `columns`.

    A sum of n positive floats is off by at most n roundings (Higham, doi:10.1137/0914050). OpenCV does `rows` +
    `columns` additions and 4 other operations, `_average_band` `columns` additions and 16 others.
    """
    return 255 * (rows + 2 * columns + 24) * _HALF_ULP


@lru_cache(maxsize=64)
def _find_weights(pixels: int, result: int) -> _Axis:
    """Return the weights of rows or columns, as OpenCV's `computeResizeAreaTab`."""
    scale = 1 / (result / pixels)
    steps = int(scale) + 3
    first, weights = np.empty(result, np.intp), np.zeros((result, steps))
    for index in range(result):
        begin = index * scale
        end = begin + scale
        cell = min(scale, pixels - begin)
        past = min(int(end), pixels - 1)
        whole = min(-int(-begin // 1), past)
        found = [whole - begin] if whole - begin > _LEAST_PART else []
        first[index] = whole - len(found)
        found += [1.0] * (past - whole)
        if end - past > _LEAST_PART:
            found.append(min(end - past, 1.0, cell))
        weights[index, : len(found)] = [part / cell for part in found]
    return _Axis(first, weights, weights.astype(np.float32))


def _average_band(image: Pixels, rows: _Axis, top: int, size: tuple[int, int]) -> Floats:
    """Return rows of the result from `top` on, not rounded."""
    height, width = image.shape[:2]
    lines = image.reshape(height, width * 3)
    count = min(_BAND_ROWS, size[1] - top)
    sums = np.empty((count, width * 3), np.float32)
    factors = [
        _add_rows(lines, int(rows.first[top + index]), rows.weights[top + index], sums[index : index + 1])
        for index in range(count)
    ]
    means: Pixels = cv2.resize(sums.reshape(count, width, 3), (size[0], count), interpolation=cv2.INTER_AREA)
    flat = means.reshape(count, size[0] * 3)
    np.multiply(flat, np.array(factors, np.float32)[:, np.newaxis], out=flat)
    return flat


def _add_rows(lines: Pixels, first: int, weights: NDArray[np.float64], total: Floats) -> float:
    """Write the sum of weighted rows to `total`, divided by the factor that is returned.

    All rows but the first and the last have the same weight.
    """
    count = int(np.count_nonzero(weights))
    factor = float(weights[1])
    begin, end = first + int(weights[0] < factor), first + count - int(weights[count - 1] < factor)
    cv2.reduce(lines[begin:end], 0, cv2.REDUCE_SUM, dst=total, dtype=cv2.CV_32F)
    for row, weight in ((first, weights[0]), (first + count - 1, weights[count - 1])):
        if weight < weights[1]:
            share = float(weight / (weight + factor))  # total · (1 - share) + row · share
            cv2.accumulateWeighted(lines[row : row + 1], total, share)
            factor /= 1 - share
    return factor


def _average_in_order(image: Pixels, rows: _Axis, columns: _Axis, indexes: Indexes) -> Floats:
    """Return some values of the result, calculated in the order of OpenCV: along each row, then down; not rounded."""
    positions, channel = np.divmod(indexes, 3)
    row, column = np.divmod(positions, len(columns.first))
    y = np.minimum(rows.first[row, np.newaxis] + np.arange(rows.weights.shape[1]), image.shape[0] - 1)
    x = np.minimum(columns.first[column, np.newaxis] + np.arange(columns.weights.shape[1]), image.shape[1] - 1)
    parts = image[y[:, :, np.newaxis], x[:, np.newaxis, :], channel[:, np.newaxis, np.newaxis]]
    sums = _add_in_order(parts * columns.rounded[column, np.newaxis, :])
    return _add_in_order(sums * rows.rounded[row])


def _add_in_order(parts: Floats) -> Floats:
    """Return sums over the last axis, from the first to the last; `np.sum` adds in pairs."""
    total = np.zeros(parts.shape[:-1], np.float32)
    for index in range(parts.shape[-1]):
        total += parts[..., index]
    return total

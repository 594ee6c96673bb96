"""CUDA kernels: Gaussian, bilateral and median filter in OpenCV's order of arithmetic, which makes the same bytes.

Sources are `H×W×C` arrays on the device, and results have their shape and type. Threads have a position (x, y) in the
grid; those outside of the image do nothing.
"""

import numpy as np
from numba import cuda, float32, int32
from numba.cuda.core import config

BLOCK = (32, 8)
"""Threads of a block, along x and y."""

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # images are as small as they are

if config.ENABLE_CUDASIM:

    def _multiply_add(a, b, c):
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))  # the simulator's own is rounded twice

else:

    @cuda.jit(device=True)
    def _multiply_add(a, b, c):
        return cuda.fma(a, b, c)


@cuda.jit(device=True)
def _reflect(position, size):
    """Return the pixel that stands for one outside of the image (`cv2.BORDER_REFLECT_101`)."""
    if 0 <= position < size:
        return position
    if size == 1:
        return 0
    period = 2 * (size - 1)
    position = abs(position) % period
    return min(position, period - position)


@cuda.jit
def sum_rows(source, weights, made):
    """First pass of a Gaussian blur: `made` (uint32) is the weighted sum along x, without rounding."""
    x, y = cuda.grid(2)
    height, width, channels = source.shape
    if x >= width or y >= height:
        return
    radius = weights.size // 2
    for channel in range(channels):
        total = 0
        for index in range(weights.size):
            total += weights[index] * source[y, _reflect(x + index - radius, width), channel]
        made[y, x, channel] = total


@cuda.jit
def sum_columns(rows, weights, shift, made):
    """Second pass: the weighted sum along y, shifted right by `shift` bits and rounded, halves up."""
    x, y = cuda.grid(2)
    height, width, channels = rows.shape
    if x >= width or y >= height:
        return
    radius = weights.size // 2
    for channel in range(channels):
        total = 1 << (shift - 1)
        for index in range(weights.size):
            total += weights[index] * rows[_reflect(y + index - radius, height), x, channel]
        made[y, x, channel] = total >> shift


@cuda.jit
def bilateral(source, offsets, rings, weights, made):
    """Bilateral filter of `H×W×3 uint8`.

    Neighbours are `offsets` (y, x) in OpenCV's order, `weights` (float32) those of a ring of neighbours at one distance
    and a difference of colour. They hold products, which the compiler would otherwise fuse with the sums.
    """
    x, y = cuda.grid(2)
    height, width, _ = source.shape
    if x >= width or y >= height:
        return
    blue, green, red = int32(source[y, x, 0]), int32(source[y, x, 1]), int32(source[y, x, 2])  # signed
    total = blue_sum = green_sum = red_sum = float32(0)
    for index in range(rings.size):
        row, column = _reflect(y + offsets[index, 0], height), _reflect(x + offsets[index, 1], width)
        near_blue, near_green, near_red = source[row, column, 0], source[row, column, 1], source[row, column, 2]
        difference = abs(int32(near_blue) - blue) + abs(int32(near_green) - green) + abs(int32(near_red) - red)
        weight = weights[rings[index], difference]
        total = total + weight
        blue_sum = _multiply_add(float32(near_blue), weight, blue_sum)
        green_sum = _multiply_add(float32(near_green), weight, green_sum)
        red_sum = _multiply_add(float32(near_red), weight, red_sum)
    scale = float32(1) / total
    made[y, x, 0] = round(blue_sum * scale)
    made[y, x, 1] = round(green_sum * scale)
    made[y, x, 2] = round(red_sum * scale)


@cuda.jit
def median(source, radius, bits, made):
    """Median filter of integers of so many `bits`, found one bit after the other; the edge's pixels are repeated."""
    x, y = cuda.grid(2)
    height, width, channels = source.shape
    if x >= width or y >= height:
        return
    half = (2 * radius + 1) * (2 * radius + 1) // 2
    for channel in range(channels):
        found = 0
        for bit in range(bits - 1, -1, -1):
            candidate = found + (1 << bit)
            below = 0
            for row in range(y - radius, y + radius + 1):
                for column in range(x - radius, x + radius + 1):
                    value = source[min(max(row, 0), height - 1), min(max(column, 0), width - 1), channel]
                    below += value < candidate
            if below <= half:
                found = candidate
        made[y, x, channel] = found

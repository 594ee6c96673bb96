"""CudaFilters: the filters of `blur` on an NVIDIA GPU, with OpenCV's bytes; what has no kernel is left to OpenCV."""

from collections.abc import Callable
from functools import lru_cache
from math import exp, sqrt
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numba import cuda

from penstock.steps.filters import kernels
from penstock.steps.filters.base import SIGMA, OpenCVFilters
from penstock.steps.image import Pixels

_MAX_APERTURE = 15
"""Largest aperture of the median kernel, whose work grows with its area; OpenCV's hardly grows."""

_MAX_DIFFERENCE = 3 * 255
"""Largest difference of two colours."""


class NoDeviceError(Exception):
    """There is no GPU that CUDA can use."""


class CudaFilters(OpenCVFilters):
    """`Filters` on a GPU.

    A process has one stream, and one staging buffer of pinned memory, as large as the largest image so far: images go
    to the device and come back through it without further copies by the driver. Kernels for 8 bits are compiled here,
    before the first image.

    Raises:
        NoDeviceError: this host has no GPU, or no driver that is new enough.
    """

    def __init__(self) -> None:
        try:
            self._stream = cuda.stream()
            self._started, self._ended = cuda.event(), cuda.event()
            self._staging = cuda.pinned_array(1, np.uint8)
            pixel = np.zeros((1, 1, 3), np.uint8)
            self.median(self.bilateral(self.gaussian(pixel, 5, 0), 1, portable=True), 3)
        except Exception as error:  # of several types, by what is missing: driver, device, permission
            text = " ".join(str(error).split())[:200].rstrip(" :")
            raise NoDeviceError(f"no GPU that CUDA can use: {text or type(error).__name__}") from error

    @property
    def kernel_ms(self) -> float:
        """Milliseconds that the kernels took for the last image, without transfers."""
        return float(self._started.elapsed_time(self._ended))

    def gaussian(self, pixels: Pixels, side: int, sigma: float) -> Pixels:
        if pixels.dtype == np.float32:
            return super().gaussian(pixels, side, sigma)
        height, width = pixels.shape[:2]
        bits = pixels.dtype.itemsize * 8
        across, down = (self._upload(fixed_weights(side, sigma, length, bits)) for length in (width, height))

        def run(source: Any, made: Any) -> None:
            rows = cuda.device_array(pixels.shape, np.uint32, stream=self._stream)
            self._launch(kernels.sum_rows, source, across, rows)
            self._launch(kernels.sum_columns, rows, down, 2 * bits, made)

        return self._filter(pixels, run)

    def bilateral(self, pixels: Pixels, diameter: int, *, portable: bool) -> Pixels:
        if not portable:
            return super().bilateral(pixels, diameter, portable=False)
        tables = [self._upload(table) for table in bilateral_tables(max(diameter // 2, 1))]
        return self._filter(pixels, lambda source, made: self._launch(kernels.bilateral, source, *tables, made))

    def median(self, pixels: Pixels, aperture: int) -> Pixels:
        if aperture > _MAX_APERTURE:
            return super().median(pixels, aperture)
        radius, bits = aperture // 2, pixels.dtype.itemsize * 8
        return self._filter(pixels, lambda source, made: self._launch(kernels.median, source, radius, bits, made))

    def _upload(self, array: npt.NDArray[Any]) -> Any:
        return cuda.to_device(array, stream=self._stream)

    def _launch(self, kernel: Any, *arguments: Any) -> None:
        height, width = arguments[-1].shape[:2]
        across, down = kernels.BLOCK
        kernel[(-(-width // across), -(-height // down)), kernels.BLOCK, self._stream](*arguments)

    def _filter(self, pixels: Pixels, run: Callable[[Any, Any], None]) -> Pixels:
        """Return what `run` makes of the pixels on the device; it gets those, and an array for the result."""
        if self._staging.size < pixels.nbytes:
            self._staging = cuda.pinned_array(pixels.nbytes, np.uint8)
        staged = self._staging[: pixels.nbytes].view(pixels.dtype).reshape(pixels.shape)
        staged[:] = pixels
        made = cuda.device_array(pixels.shape, pixels.dtype, stream=self._stream)
        source = self._upload(staged)
        self._started.record(self._stream)
        run(source, made)
        self._ended.record(self._stream)
        made.copy_to_host(staged, stream=self._stream)
        self._stream.synchronize()
        return np.array(staged)


@lru_cache(16)
def fixed_weights(side: int, sigma: float, length: int, bits: int) -> npt.NDArray[np.int64]:
    """Return the kernel of `cv2.GaussianBlur` for samples of so many bits: integers with the sum 2^bits.

    They are rounded by error diffusion, as in OpenCV's `getGaussianKernelFixedPoint_ED`.

    Args:
        side: 0 if it follows from `sigma`.
        length: pixels of the image along the kernel.
    """
    if length == 1:
        side = 1
    elif not side:
        side = round(sigma * (3 if bits == 8 else 4) * 2 + 1) | 1
    made, error = np.zeros(side, np.int64), 0.0
    for index, exact in enumerate(cv2.getGaussianKernel(side, sigma, cv2.CV_64F).ravel()[: side // 2]):
        wanted = float(exact) * (1 << bits) + error
        made[index] = made[side - 1 - index] = round(wanted)
        error = wanted - round(wanted)
    made[side // 2] = (1 << bits) - int(made.sum())
    return made


@lru_cache(16)
def bilateral_tables(radius: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return offsets (y, x) of the neighbours, the ring of each, and weights by ring and difference of colour."""
    coefficient = np.float32(-0.5 / SIGMA**2)
    reach = range(-radius, radius + 1)
    offsets = [(y, x) for y in reach for x in reach if sqrt(y * y + x * x) <= radius]
    squares = sorted({y * y + x * x for y, x in offsets})
    rings = [squares.index(y * y + x * x) for y, x in offsets]
    by_ring = np.array([exp(sqrt(square) ** 2 * float(coefficient)) for square in squares], np.float32)
    differences = np.arange(_MAX_DIFFERENCE + 1, dtype=np.float32)
    by_difference = _exp(differences * differences * coefficient)
    return np.array(offsets, np.int32), np.array(rings, np.int32), by_ring[:, None] * by_difference


def _exp(exponents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return e to some powers from -88 to 0, with the rounding of OpenCV's `v_exp`: Cephes' `expf`, not fused."""
    whole = np.floor(exponents * np.float32(1.44269504088896341) + np.float32(0.5))
    rest = exponents + whole * np.float32(-0.693359375) + whole * np.float32(2.12194440e-4)
    made = np.full_like(rest, 1.9875691500e-4)
    for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        made = made * rest + np.float32(factor)
    made = made * (rest * rest) + rest + np.float32(1)
    return np.asarray(made * np.exp2(whole), np.float32)

"""The CUDA kernels with the types that they have on a GPU, compiled for the processor: the simulator's are Python's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.steps.filters.base import OpenCVFilters

numba = pytest.importorskip("numba", reason="the extra gpu is not installed")
cuda = pytest.importorskip("penstock.steps.filters.cuda", reason="the extra gpu is not installed")

PIXELS = np.random.default_rng(5).integers(0, 256, (150, 167, 3), np.uint8)
DEEP = np.random.default_rng(5).integers(0, 65_536, (50, 67, 4), np.uint16)

LOOP = """
@njit
def run_{name}(height, width, arguments):
    for y in range(height):
        for x in range(width):
            {name}(x, y, *arguments)
"""


@pytest.fixture(scope="module")
def run() -> Callable[..., Any]:
    """Runs a kernel for every pixel; the last argument is the result."""
    _, _, source = Path(cuda.kernels.__file__).read_text().partition("@cuda.jit\n")
    reflect = cuda.kernels._reflect.fn
    source = "@njit\n" + source.replace("@cuda.jit", "@njit").replace("    x, y = cuda.grid(2)\n", "")
    for name in ("sum_rows", "sum_columns", "bilateral", "median"):
        source = source.replace(f"def {name}(", f"def {name}(x, y, ") + LOOP.format(name=name)
    numbers = {"float32": numba.float32, "int32": numba.int32, "njit": numba.njit}
    code = {**numbers, "_reflect": numba.njit(reflect), "_multiply_add": numba.njit(multiply_add)}
    exec(source, code)

    def run_kernel(name: str, *arguments: Any) -> Any:
        code[f"run_{name}"](*arguments[-1].shape[:2], arguments)
        return arguments[-1]

    return run_kernel


def multiply_add(a: float, b: float, c: float) -> Any:
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


@pytest.mark.parametrize("pixels", [PIXELS, DEEP, np.full_like(DEEP, 65_535)], ids=["8", "16", "white"])
@pytest.mark.parametrize(("side", "sigma"), [(5, 0.0), (0, 8.0)])
def test_a_gaussian_blur(run: Callable[..., Any], pixels: np.ndarray, side: int, sigma: float) -> None:
    bits = pixels.itemsize * 8
    across, down = (cuda.fixed_weights(side, sigma, length, bits) for length in (pixels.shape[1], pixels.shape[0]))
    rows = run("sum_rows", pixels, across, np.zeros(pixels.shape, np.uint32))
    made = run("sum_columns", rows, down, 2 * bits, np.zeros_like(pixels))
    assert np.array_equal(made, cv2.GaussianBlur(pixels, (side, side), sigma))


@pytest.mark.parametrize("diameter", [3, 9, 25])
def test_a_bilateral_filter(run: Callable[..., Any], diameter: int) -> None:
    made = run("bilateral", PIXELS, *cuda.bilateral_tables(diameter // 2), np.zeros_like(PIXELS))
    assert np.array_equal(made, OpenCVFilters().bilateral(PIXELS, diameter, portable=True))


@pytest.mark.parametrize(("pixels", "aperture"), [(PIXELS, 5), (PIXELS, 9), (DEEP, 5)], ids=["8", "8 wide", "16"])
def test_a_median(run: Callable[..., Any], pixels: np.ndarray, aperture: int) -> None:
    made = run("median", pixels, aperture // 2, pixels.itemsize * 8, np.zeros_like(pixels))
    assert np.array_equal(made, cv2.medianBlur(pixels, aperture))

"""The CUDA kernels, run by numba's simulator on small images, against OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.common.model.effects import Blur
from penstock.steps.blur import blur
from penstock.steps.filters import base as filters

cuda = pytest.importorskip("penstock.steps.filters.cuda", reason="the extra gpu is not installed")

Filter = Callable[[np.ndarray, str], np.ndarray]

SHAPES = [(7, 11, 3), (6, 5, 4), (1, 9, 3), (9, 1, 3), (1, 1, 3)]
METHODS = ["gaussian", "median", "bilateral,portable=true"]
SHORTS = [
    *METHODS,
    *("gaussian,sigma=0.4", "gaussian,sigma=3.3", "gaussian,kernel=9,sigma=1.5", "gaussian,kernel=31"),
    *("median,aperture=3", "median,aperture=9"),
    *(f"bilateral,diameter={diameter},portable=true" for diameter in (1, 4, 15)),
]

# Where in `drawn` below other arithmetic than OpenCV's makes another byte, a line each: products that are rounded
# before they are added; an exponential function without error; division by the sum; neighbours in reverse; Intel's
# library.
HARD = [
    *((47, 193), (133, 524), (269, 698), (374, 121), (505, 889)),
    *((38, 625), (187, 47), (284, 276), (380, 124), (418, 525)),
    *((43, 639), (51, 31), (176, 173), (456, 937), (594, 327)),
    *((21, 829), (22, 776), (37, 441), (86, 551), (113, 494)),
    *((5, 650), (40, 202)),
]


def random(shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def by_opencv(pixels: np.ndarray, short: str) -> np.ndarray:
    return blur(pixels, Blur.from_short(short))


@pytest.fixture(scope="module")
def cuda_filters() -> filters.Filters:
    made: filters.Filters = cuda.CudaFilters()
    return made


@pytest.fixture
def by_cuda(cuda_filters: filters.Filters, monkeypatch: pytest.MonkeyPatch) -> Filter:
    def run(pixels: np.ndarray, short: str) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(filters, "chosen", cuda_filters)
            return blur(pixels, Blur.from_short(short))

    return run


@pytest.mark.parametrize("short", SHORTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_of_8_bits_has_the_bytes_of_opencv(by_cuda: Filter, shape: tuple[int, ...], short: str) -> None:
    pixels = random(shape)
    assert np.array_equal(by_cuda(pixels, short), by_opencv(pixels, short))


@pytest.mark.parametrize(
    "short", ["gaussian", "gaussian,sigma=2.2", "gaussian,kernel=21", "median", "median,aperture=3"]
)
@pytest.mark.parametrize("shape", [(9, 13, 3), (5, 7, 4), (1, 6, 3)])
def test_an_image_of_16_bits_has_the_bytes_of_opencv(by_cuda: Filter, shape: tuple[int, ...], short: str) -> None:
    pixels = random(shape, np.uint16)
    assert np.array_equal(by_cuda(pixels, short), by_opencv(pixels, short))


@pytest.mark.parametrize("short", METHODS)
def test_an_image_of_several_blocks_has_the_bytes_of_opencv(by_cuda: Filter, short: str) -> None:
    pixels = random((20, 36, 3))
    assert np.array_equal(by_cuda(pixels, short), by_opencv(pixels, short))


@pytest.mark.parametrize("short", METHODS)
@pytest.mark.parametrize("content", ["black", "white", "checks", "steps"])
def test_extreme_contents_have_the_bytes_of_opencv(by_cuda: Filter, content: str, short: str) -> None:
    y, x = np.mgrid[:8, :9]
    grey = {"black": 0 * x, "white": 0 * x + 255, "checks": (x + y) % 2 * 255, "steps": (x > 4) * 255}[content]
    pixels = np.repeat(grey[:, :, None], 3, 2).astype(np.uint8)
    assert np.array_equal(by_cuda(pixels, short), by_opencv(pixels, short))


def test_a_bilateral_filter_adds_and_rounds_in_opencvs_order(by_cuda: Filter) -> None:
    drawn = np.random.default_rng(7).integers(96, 160, (1000, 1000, 3), np.uint8)
    patches = [drawn[y - 2 : y + 3, x - 2 : x + 3] for y, x in HARD]
    pixels = np.vstack([np.hstack(patches[:11]), np.hstack(patches[11:])])
    expected = by_opencv(pixels, "bilateral,diameter=5,portable=true")
    assert np.array_equal(by_cuda(pixels, "bilateral,diameter=5,portable=true"), expected)
    assert (cv2.bilateralFilter(pixels, 5, 75, 75) != expected).any() == cv2.ipp.useIPP()


def test_a_view_is_filtered_like_a_copy(by_cuda: Filter) -> None:
    whole = random((12, 14, 3))
    view = whole[3:9, 4:12]
    view.flags.writeable = False
    assert np.array_equal(by_cuda(view, "gaussian"), by_opencv(view.copy(), "gaussian"))


def test_a_result_is_not_overwritten_by_the_next_one(by_cuda: Filter) -> None:
    pixels = random((6, 8, 3))
    first = by_cuda(pixels, "median")
    by_cuda(255 - pixels, "median")
    assert np.array_equal(first, by_opencv(pixels, "median"))


@pytest.mark.parametrize(
    "short", ["median,aperture=255", "bilateral,diameter=5", "gaussian", "updownsampling", "pixelate", "fill"]
)
def test_what_has_no_kernel_is_computed_by_opencv(by_cuda: Filter, short: str) -> None:
    pixels = random((6, 8, 4), np.uint8 if short.startswith(("median", "bilateral")) else np.uint16)
    assert np.array_equal(by_cuda(pixels, short), by_opencv(pixels, short))


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1, 2.5, 7.7, 20, 100])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_gaussian_kernel_is_opencvs_response_to_a_point(sigma: float, bits: int) -> None:
    weights = cuda.fixed_weights(0, sigma, 9_999, bits)
    dtype = np.uint8 if bits == 8 else np.uint16
    row = np.zeros((1, len(weights) * 2 + 1), dtype)
    row[0, len(weights)] = np.iinfo(dtype).max
    seen = cv2.GaussianBlur(row, (0, 0), sigma).ravel()
    reach = len(weights) // 2
    expected = (weights * np.iinfo(dtype).max * (1 << bits) + (1 << (2 * bits - 1))) >> (2 * bits)
    assert np.array_equal(seen[len(weights) - reach : len(weights) + reach + 1], expected)
    assert weights.sum() == 1 << bits


def test_a_host_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA driver library cannot be found\nsee the manual")

    monkeypatch.setattr(cuda.cuda, "stream", fail)
    with pytest.raises(
        cuda.NoDeviceError, match=r"^no GPU that CUDA can use: CUDA driver library cannot be found see the"
    ):
        cuda.CudaFilters()

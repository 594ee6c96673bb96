from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from penstock.common.model.effects import Blur
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.plan import make_plan
from penstock.common.model.regions import Region
from penstock.common.settings import Limits
from penstock.steps.blur import blur
from penstock.steps.filters.base import without_ipp
from penstock.steps.image import translate_opencv_errors


def bilateral_without_ipp(image: np.ndarray) -> np.ndarray:
    with without_ipp():
        return cv2.bilateralFilter(image, 9, 75, 75)


OPENCV: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gaussian": lambda image: cv2.GaussianBlur(image, (5, 5), 0),
    "updownsampling": lambda image: cv2.pyrUp(cv2.pyrDown(image), dstsize=(image.shape[1], image.shape[0])),
    "bilateral": lambda image: cv2.bilateralFilter(image, 9, 75, 75),
    "median": lambda image: cv2.medianBlur(image, 5),
}


@pytest.mark.parametrize("method", OPENCV)
def test_blur_returns_the_pixels_of_opencv(image: np.ndarray, method: str) -> None:
    result = blur(image, Blur(method=method))  # type: ignore[arg-type]
    assert result.shape == image.shape
    assert np.array_equal(result, OPENCV[method](image))


@pytest.mark.parametrize("method", OPENCV)
def test_blurring_a_view_equals_blurring_a_copy(photos: list[np.ndarray], method: str) -> None:
    quadrant = photos[0][:128, 128:384]
    assert np.array_equal(blur(quadrant, Blur(method=method)), OPENCV[method](quadrant.copy()))  # type: ignore[arg-type]


def test_a_size_that_opencv_refuses_is_a_parameter_error_of_the_image(drawing: np.ndarray) -> None:
    with (
        pytest.raises(ImageError, match="96x72 pixels cannot be turned") as refused,
        translate_opencv_errors(drawing, "turned"),
    ):
        cv2.resize(drawing, (0, 0))
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("gaussian,sigma=3", lambda image: cv2.GaussianBlur(image, (0, 0), 3)),
        ("gaussian,kernel=9", lambda image: cv2.GaussianBlur(image, (9, 9), 0)),
        ("gaussian,kernel=9,sigma=1.5", lambda image: cv2.GaussianBlur(image, (9, 9), 1.5)),
        ("median,aperture=9", lambda image: cv2.medianBlur(image, 9)),
        ("bilateral,diameter=15", lambda image: cv2.bilateralFilter(image, 15, 75, 75)),
        ("bilateral,portable=true", bilateral_without_ipp),
    ],
)
def test_a_strength_is_that_of_opencv(image: np.ndarray, short: str, expected: Callable[..., np.ndarray]) -> None:
    assert np.array_equal(blur(image, Blur.from_short(short)), expected(image))


def test_a_portable_blur_leaves_the_use_of_intels_library_as_it_was(drawing: np.ndarray) -> None:
    used = cv2.ipp.useIPP()
    blur(drawing, Blur(method="bilateral", portable=True))
    assert cv2.ipp.useIPP() == used


@pytest.mark.parametrize("method", OPENCV)
def test_a_plan_without_strength_has_the_document_of_version_0_1_0(method: str) -> None:
    assert make_plan([["blur", method]], None, Limits()).canonical()[0] == {"op": "blur", "method": method}


def test_a_mosaic_has_the_mean_of_each_block() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (48, 80, 3), np.uint8)
    made = blur(pixels, Blur.from_short("pixelate"))
    for top in range(0, 48, 16):
        for left in range(0, 80, 16):
            block = made[top : top + 16, left : left + 16]
            assert (block == block[0, 0]).all()
            assert np.abs(block[0, 0] - pixels[top : top + 16, left : left + 16].mean((0, 1))).max() <= 0.5 + 1e-6


def test_no_block_of_a_mosaic_is_larger_than_asked(image: np.ndarray) -> None:
    made = blur(image, Blur.from_short("pixelate,block=6"))
    assert made.shape == image.shape
    for line in (made[0], made[:, 0]):
        changes = np.flatnonzero(np.any(np.diff(line.astype(int), axis=0), axis=1))
        assert np.diff([-1, *changes, len(line) - 1]).max() <= max(6, 1)


def test_a_fill_is_one_colour(drawing: np.ndarray) -> None:
    assert (blur(drawing, Blur.from_short("fill,color=#102030")) == (0x30, 0x20, 0x10)).all()
    assert (blur(drawing, Blur(method="fill")) == 0).all()


@pytest.mark.parametrize(
    "short",
    ["gaussian", "gaussian,sigma=4", "updownsampling", "median", "pixelate", "fill", "gaussian,where=regions"],
)
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_and_alpha_stay(short: str, channels: int) -> None:
    params = Blur.from_short(short)
    pixels = np.random.default_rng(5).integers(0, 65_536, (40, 50, channels)).astype(np.uint16)
    made = blur(pixels, params, [Region(box=(5, 5, 20, 20))])
    assert params.supports_16_bit
    assert (made.dtype, made.shape) == (np.uint16, pixels.shape)


def test_what_opencv_blurs_in_8_bits_alone_says_so() -> None:
    shorts = ("bilateral", "median,aperture=7", "median,aperture=5", "fill,where=regions")
    assert [Blur.from_short(short).supports_16_bit for short in shorts] == [False, False, True, True]


@pytest.mark.parametrize("method", OPENCV)
def test_hidden_colours_of_transparent_pixels_do_not_bleed(method: str) -> None:
    pixels = np.zeros((40, 50, 4), np.uint8)
    pixels[:, :, 1] = 255
    pixels[10:30, 10:40] = (0, 0, 255, 255)
    made = blur(pixels, Blur(method=method))  # type: ignore[arg-type]
    assert made[made[:, :, 3] == 255][:, 1].max() == 0


@pytest.mark.parametrize(
    ("short", "said"),
    [
        (True, "method"),
        ("gaussian,kernel=4", "kernel is an odd number"),
        ("median,aperture=4", "aperture is an odd number"),
        ("median,sigma=3", "sigma has no effect on median with where: image"),
        ("gaussian,samples=8", "samples has no effect on gaussian with where: image"),
        ("gaussian,sigma=3,where=regions", "sigma has no effect on gaussian with where: regions"),
        ("median,where=regions", "median hides no regions; accepted are gaussian, pixelate and fill"),
        ("gaussian,sigma=0", "greater than 0"),
        ("fill,color=red", "color"),
        ("fill,where=faces", "'image' or 'regions'"),
    ],
)
def test_a_blur_that_makes_no_sense_is_refused_with_the_reason(short: Any, said: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=said):
        Blur.from_short(short)

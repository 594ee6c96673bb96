from __future__ import annotations

import cv2
import numpy as np
import pytest

from penstock.steps.colour.alpha import flatten, is_opaque, premultiplied, unpremultiplied, weight_by_alpha

DTYPES = [np.uint8, np.uint16]


def translucent(dtype: type[np.uint8 | np.uint16], height: int = 60, width: int = 80) -> np.ndarray:
    """Draw noise with every kind of alpha: none, full, and all between."""
    full = np.iinfo(dtype).max
    random = np.random.default_rng(4)
    pixels = random.integers(0, full + 1, (height, width, 4)).astype(dtype)
    pixels[: height // 3, :, 3] = 0
    pixels[height // 3 : height // 2, :, 3] = full
    return pixels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 130, 250)])
def test_flattening_is_rounded_to_the_nearest_value(
    dtype: type[np.uint8 | np.uint16], background: tuple[int, int, int]
) -> None:
    pixels, full = translucent(dtype), np.iinfo(dtype).max
    share = pixels[:, :, 3:] / full
    exact = share * pixels[:, :, :3] + (1 - share) * (np.array(background) / 255 * full)
    assert np.abs(flatten(pixels, background) - exact).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_flattening_an_opaque_image_changes_no_colour(dtype: type[np.uint8 | np.uint16]) -> None:
    pixels = translucent(dtype)
    pixels[:, :, 3] = np.iinfo(dtype).max
    assert is_opaque(pixels)
    assert np.array_equal(flatten(pixels, (1, 2, 3)), pixels[:, :, :3])


def test_flattening_in_bands_equals_flattening_at_once() -> None:
    pixels = translucent(np.uint8, 300, 1000)
    parts = [flatten(pixels[top : top + 7], (9, 99, 199)) for top in range(0, 300, 7)]
    assert np.array_equal(flatten(pixels, (9, 99, 199)), np.concatenate(parts))


@pytest.mark.parametrize("dtype", DTYPES)
def test_premultiplying_loses_nothing_but_the_colours_of_transparent_pixels(
    dtype: type[np.uint8 | np.uint16],
) -> None:
    pixels = translucent(dtype)
    back = unpremultiplied(premultiplied(pixels), pixels.dtype)
    expected = np.where(pixels[:, :, 3:] > 0, pixels, 0)
    assert back.dtype == dtype
    assert np.array_equal(back, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "mix",
    [
        lambda pixels: cv2.resize(pixels, (20, 15), interpolation=cv2.INTER_AREA),
        lambda pixels: cv2.resize(pixels, (33, 41), interpolation=cv2.INTER_CUBIC),
        lambda pixels: cv2.GaussianBlur(pixels, (9, 9), 0),
    ],
)
def test_colours_below_transparent_pixels_do_not_bleed(dtype: type[np.uint8 | np.uint16], mix: object) -> None:
    full = int(np.iinfo(dtype).max)
    pixels = np.zeros((60, 80, 4), dtype)
    pixels[:, :, 1] = full  # green that nobody sees
    pixels[20:40, 30:50] = (0, 0, full, full)
    made = weight_by_alpha(pixels, mix)  # type: ignore[arg-type]
    shown = made[made[:, :, 3] > full // 100]
    assert made.dtype == dtype
    assert 0 < made[:, :, 3].max() <= full
    assert shown[:, 1].max() <= full // 100
    assert shown[:, 2].min() >= full - full // 100


def test_an_opaque_image_is_mixed_as_without_alpha() -> None:
    pixels = translucent(np.uint8)
    pixels[:, :, 3] = 255
    blurred = weight_by_alpha(pixels, lambda given: cv2.GaussianBlur(given, (5, 5), 0))
    assert np.array_equal(blurred[:, :, :3], cv2.GaussianBlur(np.ascontiguousarray(pixels[:, :, :3]), (5, 5), 0))

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from penstock.common.model.effects import Adjust
from penstock.steps.adjust import adjust

DTYPES = [np.uint8, np.uint16]
Depth = type[np.uint8 | np.uint16]


def noise(dtype: Depth, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(11)
    return random.integers(0, np.iinfo(dtype).max + 1, (40, 50, channels)).astype(dtype)


def worst(made: np.ndarray, pixels: np.ndarray, formula: Any) -> float:
    """Return the largest difference to a formula on values of 0 to 1, in steps of the pixels' depth."""
    full = np.iinfo(pixels.dtype).max
    exact = np.clip(formula(pixels[:, :, :3] / full), 0, 1) * full
    return float(np.abs(made[:, :, :3] - exact).max())


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_neutral_values_leave_the_image_as_it_is(dtype: Depth, channels: int) -> None:
    pixels = noise(dtype, channels)
    for neutral in (True, "brightness=1,contrast=1,gamma=1,saturation=1,sharpen=0", {"sharpen_sigma": 5}):
        assert adjust(pixels, Adjust.from_short(neutral)) is pixels
        assert Adjust.from_short(neutral).does_nothing


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("short", "formula"),
    [
        ("brightness=1.3", lambda c: 1.3 * c),
        ("brightness=0", lambda c: 0 * c),
        ("contrast=1.5", lambda c: 1.5 * (c - 0.5) + 0.5),
        ("contrast=0.2", lambda c: 0.2 * (c - 0.5) + 0.5),
        ("gamma=2.2", lambda c: c ** (1 / 2.2)),
        ("gamma=0.5", lambda c: c**2),
        (
            "brightness=0.9,contrast=1.2,gamma=1.4",
            lambda c: np.clip(1.2 * (0.9 * c - 0.5) + 0.5, 0, 1) ** (1 / 1.4),
        ),
    ],
)
def test_tones_follow_their_formula(dtype: Depth, short: str, formula: Any) -> None:
    pixels = noise(dtype)
    made = adjust(pixels, Adjust.from_short(short))
    assert made.dtype == dtype
    assert worst(made, pixels, formula) <= 0.5 + 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("short", "amount"), [("saturation=1.8", 1.8), ("saturation=0.4", 0.4), ("grayscale", 0)])
def test_saturation_moves_colours_away_from_their_luma(dtype: Depth, short: str, amount: float) -> None:
    def formula(c: np.ndarray) -> np.ndarray:
        luma = (c @ np.array([0.0722, 0.7152, 0.2126]))[:, :, None]
        return luma + amount * (c - luma)

    pixels = noise(dtype)
    assert worst(adjust(pixels, Adjust.from_short(short)), pixels, formula) < 0.9  # 8 bits by fixed-point arithmetic


@pytest.mark.parametrize("dtype", DTYPES)
def test_greys_stay_what_they_are_at_any_saturation(dtype: Depth) -> None:
    count = np.iinfo(dtype).max + 1
    greys = np.arange(count).astype(dtype).reshape(-1, 16, 1).repeat(3, axis=2)
    for amount in (0, 0.3, 2, 10):
        assert np.array_equal(adjust(greys, Adjust(saturation=amount)), greys)


def test_grayscale_has_three_equal_channels(drawing: np.ndarray) -> None:
    made = adjust(drawing, Adjust.from_short("grayscale"))
    assert made.shape == drawing.shape
    assert (made == made[:, :, :1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sharpening_adds_the_difference_to_a_blurred_copy(dtype: Depth) -> None:
    pixels = noise(dtype)
    blurred = cv2.GaussianBlur(pixels, (0, 0), 1.5).astype(float)
    exact = np.clip(pixels + 0.8 * (pixels - blurred), 0, np.iinfo(dtype).max)
    assert np.abs(adjust(pixels, Adjust.from_short("sharpen=0.8,sharpen_sigma=1.5")) - exact).max() <= 0.51


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("short", ["brightness=1.3", "grayscale", "saturation=2", "sharpen=2"])
def test_alpha_stays_and_colours_are_those_without_it(dtype: Depth, short: str) -> None:
    pixels = noise(dtype, 4)
    made = adjust(pixels, Adjust.from_short(short))
    assert np.array_equal(made[:, :, 3], pixels[:, :, 3])
    if "sharpen" in short:  # which takes less of the more transparent neighbours
        pixels[:, :, 3] = np.iinfo(dtype).max
        made = adjust(pixels, Adjust.from_short(short))
    assert np.array_equal(made[:, :, :3], adjust(np.ascontiguousarray(pixels[:, :, :3]), Adjust.from_short(short)))


def test_every_size_can_be_adjusted(image: np.ndarray) -> None:
    made = adjust(image, Adjust.from_short("brightness=1.1,saturation=1.2,sharpen=1,sharpen_sigma=20"))
    assert made.shape == image.shape


@pytest.mark.parametrize(
    ("short", "said"),
    [
        ("brighter", "accepted is grayscale, or NAME=VALUE"),
        ("brightness=-1", "greater than or equal to 0"),
        ("gamma=0", "greater than or equal to 0.1"),
        ("contrast=inf", "finite number"),
        ("contrast=lots", "valid number"),
        ("hue=3", "hue"),
    ],
)
def test_an_adjustment_that_makes_no_sense_is_refused_with_the_reason(short: Any, said: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=said):
        Adjust.from_short(short)

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.geometry import Rotate
from penstock.common.model.plan import Planned
from penstock.common.model.regions import Region
from penstock.common.settings import Limits
from penstock.steps.image import Image
from penstock.steps.rotate import rotate
from penstock.worker.executors.in_process import InProcessExecutor


@pytest.mark.parametrize(
    ("short", "quarters"), [(90, 1), (180, 2), (270, 3), (-90, 3), ("-180", 2), ("450.0", None), (360, 0)]
)
def test_a_quarter_turn_moves_pixels_and_changes_none(image: np.ndarray, short: Any, quarters: int | None) -> None:
    if quarters is None:
        with pytest.raises(ValidationError, match="less than or equal to 360"):
            Rotate.from_short(short)
        return
    assert np.array_equal(rotate(image, Rotate.from_short(short)).pixels, np.rot90(image, -quarters))


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("horizontal", lambda image: image[:, ::-1]),
        ("vertical", lambda image: image[::-1]),
        ("both", lambda image: image[::-1, ::-1]),
        ("90,flip=horizontal", lambda image: np.rot90(image[:, ::-1], -1)),
    ],
)
def test_a_flip_mirrors_before_the_turn(image: np.ndarray, short: str, expected: Any) -> None:
    assert np.array_equal(rotate(image, Rotate.from_short(short)).pixels, expected(image))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("angle", [90, 180, 30])
def test_depth_and_channels_stay(dtype: type, channels: int, angle: float) -> None:
    pixels = np.full((20, 30, channels), np.iinfo(dtype).max // 2, dtype)
    made = rotate(pixels, Rotate(angle=angle)).pixels
    assert (made.dtype, made.shape[2]) == (dtype, channels)
    assert (made[made.shape[0] // 2, made.shape[1] // 2] == np.iinfo(dtype).max // 2).all()


@pytest.mark.parametrize("angle", [1, 30, 45, 89.5, -60, 135, 271])
def test_the_canvas_grows_to_hold_every_corner_and_no_more(drawing: np.ndarray, angle: float) -> None:
    made = rotate(drawing, Rotate(angle=angle))
    assert made.transform is not None
    height, width = made.pixels.shape[:2]
    corners = [made.transform.apply(x, y) for x in (0, 96) for y in (0, 72)]
    across, down = (sorted(axis) for axis in zip(*corners, strict=True))
    assert -0.01 <= across[0] < 1
    assert -0.01 <= width - across[-1] < 1
    assert -0.01 <= down[0] < 1
    assert -0.01 <= height - down[-1] < 1


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "lanczos4"])
@pytest.mark.parametrize("angle", [10, 45, -70, 200])
def test_a_mark_is_found_where_the_transform_says(interpolation: Any, angle: float) -> None:
    pixels = np.zeros((101, 141, 3), np.uint8)
    pixels[20:25, 100:105] = 255
    made = rotate(pixels, Rotate(angle=angle, background="#000000", interpolation=interpolation))
    assert made.transform is not None
    moments = cv2.moments(made.pixels[:, :, 0])
    x, y = moments["m10"] / moments["m00"] + 0.5, moments["m01"] / moments["m00"] + 0.5
    assert (x, y) == pytest.approx(made.transform.apply(102.5, 22.5), abs=0.5)


@pytest.mark.parametrize("short", ["90", "180", "270", "horizontal", "vertical", "both", "90,flip=vertical"])
def test_a_region_is_on_the_same_pixels_after_a_quarter_turn(short: str) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:15, 10:30] = 200
    image = Image(pixels, regions=(Region(box=(10, 5, 20, 10)),))
    made = image.derive(rotate(pixels, Rotate.from_short(short)))
    assert made.regions[0].box is not None
    x, y, width, height = map(int, made.regions[0].box)
    assert (made.pixels[y : y + height, x : x + width] == 200).all()
    assert (made.pixels == 200).sum() == width * height * 3


def test_turning_there_and_back_gives_nearly_the_image(drawing: np.ndarray) -> None:
    smooth = cv2.GaussianBlur(drawing, (0, 0), 3)
    back = rotate(rotate(smooth, Rotate(angle=23)).pixels, Rotate(angle=-23)).pixels
    top, left = (back.shape[0] - 72) // 2, (back.shape[1] - 96) // 2
    middle = back[top + 10 : top + 62, left + 10 : left + 86].astype(int)
    shifts = [smooth[10 + dy : 62 + dy, 10 + dx : 86 + dx].astype(int) for dy in (0, 1) for dx in (0, 1)]
    assert min(np.abs(middle - shifted).mean() for shifted in shifts) < 6


def test_corners_have_the_background(drawing: np.ndarray) -> None:
    made = rotate(drawing, Rotate(angle=45, background="#102030")).pixels
    assert [tuple(made[y, x]) for y in (0, -1) for x in (0, -1)] == [(0x30, 0x20, 0x10)] * 4
    deep = rotate(drawing.astype(np.uint16), Rotate(angle=45, background="#102030")).pixels
    assert tuple(deep[0, 0]) == (0x3030, 0x2020, 0x1010)


def test_corners_of_an_image_with_alpha_are_clear_and_bleed_nothing() -> None:
    pixels = np.full((60, 80, 4), (0, 0, 200, 255), np.uint8)
    made = rotate(pixels, Rotate(angle=30)).pixels
    shown = made[made[:, :, 3] > 8]
    assert made[0, 0, 3] == 0
    assert shown[:, :2].max() == 0
    assert abs(shown[:, 2].astype(int) - 200).max() <= 8


def test_a_kept_canvas_has_the_size_of_the_image(drawing: np.ndarray) -> None:
    for angle in (10, 90, 45):
        made = rotate(drawing, Rotate(angle=angle, canvas="keep"))
        assert made.pixels.shape == drawing.shape
        assert made.transform is not None
        assert made.transform.apply(48, 36) == pytest.approx((48, 36))
    square = drawing[:, :72]
    assert np.array_equal(rotate(square, Rotate(angle=90, canvas="keep")).pixels, np.rot90(square, -1))


def test_a_canvas_over_the_limit_is_refused_before_it_is_made() -> None:
    strip = np.zeros((2, 30_000, 3), np.uint8)
    with pytest.raises(ImageError, match="rotate made 450076225 pixels") as refused:
        InProcessExecutor(Limits()).perform(Planned("rotate", Rotate(angle=45)), [Image(strip)])
    assert refused.value.code is ImageCode.TOO_MANY_PIXELS


def test_a_turn_by_nothing_is_left_out_of_a_plan() -> None:
    assert [Rotate.from_short(short).does_nothing for short in (0, 360, -360, 90, "vertical", True)] == [
        *[True] * 3,
        *[False] * 2,
        True,
    ]


@pytest.mark.parametrize(
    ("short", "said"),
    [("north", "neither an angle nor a flip"), ("nan", "finite"), (999, "360"), ([90], "cannot be read")],
)
def test_a_turn_that_makes_no_sense_is_refused_with_the_reason(short: Any, said: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=said):
        Rotate.from_short(short)

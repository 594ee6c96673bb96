from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.common.model.errors import ImageError
from penstock.common.model.operations import Resize
from penstock.common.model.plan import Planned
from penstock.common.model.regions import Region
from penstock.common.settings import Limits
from penstock.steps.image import Image
from penstock.steps.resize import resize
from penstock.worker.executors.in_process import InProcessExecutor

RED = (0, 0, 255)


def resized(pixels: NDArray[np.uint8 | np.uint16], short: str) -> NDArray[np.uint8 | np.uint16]:
    return resize(pixels, Resize.from_short(short)).pixels


@pytest.mark.parametrize("size", [(1, 1), (200, 300), (31, 17), (64, 48), (100, 1)])
def test_resize_returns_the_pixels_of_opencvs_inter_area(image: np.ndarray, size: tuple[int, int]) -> None:
    result = resize(image, Resize(width=size[0], height=size[1])).pixels
    assert result.shape == (size[1], size[0], 3)
    assert np.array_equal(result, cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def test_photographs_resize_as_opencv_resizes_them(photos: list[np.ndarray]) -> None:
    for photo in photos:
        expected = cv2.resize(photo, (200, 300), interpolation=cv2.INTER_AREA)
        assert np.array_equal(resize(photo, Resize(width=200, height=300)).pixels, expected)


def test_resize_does_not_change_its_input(drawing: np.ndarray) -> None:
    before = drawing.copy()
    for short in ("96x72", "pad:200x200", "cover:10x30"):
        resized(drawing, short)
        assert np.array_equal(drawing, before)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("linear", cv2.INTER_LINEAR),
        ("cubic", cv2.INTER_CUBIC),
        ("lanczos4", cv2.INTER_LANCZOS4),
        ("nearest", cv2.INTER_NEAREST_EXACT),
    ],
)
def test_each_interpolation_is_opencvs(image: np.ndarray, name: str, method: int) -> None:
    expected = cv2.resize(image, (50, 37), interpolation=method)
    assert np.array_equal(resized(image, f"50x37,interpolation={name}"), expected)


def test_inside_and_outside_keep_the_aspect_ratio(drawing: np.ndarray) -> None:
    for short, size in [("inside:48x48", (48, 36)), ("outside:48x48", (64, 48)), ("x36", (48, 36)), ("50%", (48, 36))]:
        assert np.array_equal(resized(drawing, short), cv2.resize(drawing, size, interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    ("gravity", "left", "top"),
    [("centre", 12, 0), ("north-west", 0, 0), ("east", 24, 0), ("south", 12, 0), ("south-east", 24, 0)],
)
def test_cover_cuts_off_what_gravity_does_not_hold(drawing: np.ndarray, gravity: str, left: int, top: int) -> None:
    expected = cv2.resize(drawing[top:, left : left + 72], (36, 36), interpolation=cv2.INTER_AREA)
    assert np.array_equal(resized(drawing, f"cover:36x36,gravity={gravity}"), expected)


def test_cover_cuts_off_above_and_below_where_the_image_is_tall(drawing: np.ndarray) -> None:
    expected = cv2.resize(drawing[24:], (192, 96), interpolation=cv2.INTER_AREA)
    assert np.array_equal(resized(drawing, "cover:192x96,gravity=south"), expected)


@pytest.mark.parametrize(("gravity", "top"), [("centre", 6), ("north", 0), ("south-west", 12)])
def test_pad_puts_the_image_on_its_background(drawing: np.ndarray, gravity: str, top: int) -> None:
    made = resized(drawing, f"pad:48x48,gravity={gravity},background=#ff0000")
    inside = cv2.resize(drawing, (48, 36), interpolation=cv2.INTER_AREA)
    assert np.array_equal(made[top : top + 36], inside)
    border = np.delete(made, slice(top, top + 36), axis=0)
    assert border.shape[0] == 12
    assert (border == RED).all()


def test_an_image_is_not_enlarged_where_that_is_not_wanted(drawing: np.ndarray) -> None:
    for short in ("inside:500x500>", "outside:500x500>", "cover:500x500>", "1000x>", "longest:1000>", "300%>"):
        assert np.array_equal(resized(drawing, short), drawing)
    padded = resized(drawing, "pad:100x100>")
    assert np.array_equal(padded[14:86, 2:98], drawing)


@pytest.mark.parametrize("short", ["inside:40x40", "cover:30x40", "pad:40x40", "50x50,interpolation=lanczos4", "200%"])
def test_16_bit_pixels_stay_16_bit(drawing: np.ndarray, short: str) -> None:
    deep = drawing.astype(np.uint16) * 257
    made = resized(deep, short)
    assert made.dtype == np.uint16
    assert np.abs(made / 257 - resized(drawing, short)).max() <= 1


def test_the_background_of_16_bit_pixels_is_as_bright(drawing: np.ndarray) -> None:
    made = resized(drawing.astype(np.uint16) * 257, "pad:96x96,background=#ff8000")
    assert made[0, 0].tolist() == [0, 0x8080, 0xFFFF]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("interpolation", ["area", "linear", "cubic", "lanczos4"])
def test_hidden_colours_do_not_bleed_into_visible_ones(depth: type, interpolation: str) -> None:
    full = np.iinfo(depth).max
    pixels = np.zeros((40, 40, 4), depth)
    pixels[..., 1] = full  # green, where nothing shows
    pixels[10:30, 10:30] = (0, 0, full, full)  # red
    made = resized(pixels, f"27x27,interpolation={interpolation}")
    seen = made[made[..., 3] > full // 100]
    assert seen[:, 1].max() == 0
    assert seen[:, 2].min() >= full * 0.97
    assert np.count_nonzero((made[..., 3] > 0) & (made[..., 3] < full))


def test_borders_of_an_image_with_alpha_are_opaque() -> None:
    made = resized(np.zeros((10, 10, 4), np.uint8), "pad:20x10,background=#010203")
    assert made[0, 0].tolist() == [3, 2, 1, 255]
    assert made[5, 10].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "short",
    ["100x30", "inside:50x50", "cover:50x50", "cover:60x80,gravity=north-east", "outside:50x50", "pad:70x90",
     "pad:200x180,gravity=south-east", "x31", "37%", "longest:60", "cover:300x200>"],
)  # fmt: skip
def test_a_region_lands_on_the_content_that_it_marked(short: str) -> None:
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[35:55, 45:75] = RED
    image = Image(pixels, regions=(Region(box=(45, 35, 30, 20), label="mark"),))
    made = image.derive(resize(pixels, Resize.from_short(f"{short},background=#000000")))
    red = made.pixels[..., 2].astype(float) / 255
    (moved,) = made.regions
    assert moved.box is not None
    x, y, width, height = moved.box
    columns, rows = red.max(axis=0), red.max(axis=1)
    assert columns.sum() == pytest.approx(width, abs=0.6)
    assert rows.sum() == pytest.approx(height, abs=0.6)
    centres = np.arange(made.width) + 0.5, np.arange(made.height) + 0.5
    assert columns @ centres[0] / columns.sum() == pytest.approx(x + width / 2, abs=0.4)
    assert rows @ centres[1] / rows.sum() == pytest.approx(y + height / 2, abs=0.4)


def test_an_enlargement_beyond_the_limit_is_refused_before_any_of_it_is_allocated() -> None:
    small = Image(np.zeros((10, 10, 3), np.uint8))
    executor = InProcessExecutor(Limits(max_pixels=50_000_000))
    for short in ("100000%", "32768x", "longest:32768", "outside:8000x8000"):
        with pytest.raises(ImageError) as caught:
            executor.perform(Planned("resize", Resize.from_short(short)), [small])
        assert caught.value.code == "too_many_pixels"
        assert "PENSTOCK_MAX_PIXELS" in caught.value.message

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.geometry import Crop
from penstock.common.model.regions import Region
from penstock.steps.crop import crop
from penstock.steps.image import Image


@pytest.mark.parametrize(
    ("short", "rows", "columns"),
    [
        ("40x30+10+20", slice(20, 50), slice(10, 50)),
        ([10, 20, 40, 30], slice(20, 50), slice(10, 50)),
        ({"x": 10, "y": 20, "width": 40, "height": 30}, slice(20, 50), slice(10, 50)),
        ({"x": 10, "y": 20}, slice(20, 72), slice(10, 96)),
        ({"height": 8}, slice(32, 40), slice(0, 96)),
        ("40x30", slice(21, 51), slice(28, 68)),
        ("40x30:north-west", slice(0, 30), slice(0, 40)),
        ("40x30:east", slice(21, 51), slice(56, 96)),
        ("40x30,gravity=south", slice(42, 72), slice(28, 68)),
        ("50%x25%", slice(27, 45), slice(24, 72)),
        ("25%x50%+75%+50%", slice(36, 72), slice(72, 96)),
        ("16:9", slice(9, 63), slice(0, 96)),
        ("1:1", slice(0, 72), slice(12, 84)),
        ("1:1:west", slice(0, 72), slice(0, 72)),
        ("1:2.5", slice(0, 72), slice(33, 62)),
        ("1:20000", slice(0, 72), slice(47, 48)),
        ("96x72", slice(0, 72), slice(0, 96)),
    ],
)
def test_a_crop_is_the_slice_that_its_short_form_says(
    drawing: np.ndarray, short: Any, rows: slice, columns: slice
) -> None:
    made = crop(drawing, Crop.from_short(short)).pixels
    assert np.array_equal(made, drawing[rows, columns])
    assert np.shares_memory(made, drawing)


def test_boxes_of_percentages_that_share_an_edge_join_without_a_gap(image: np.ndarray) -> None:
    if min(image.shape[:2]) < 7:
        pytest.skip("a third of it has no pixels")
    thirds = [("0%", "33.3%"), ("33.3%", "33.3%"), ("66.6%", "33.4%")]
    parts = [crop(image, Crop(x=x, y="0%", width=width)).pixels for x, width in thirds]
    assert np.array_equal(np.hstack(parts), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_crop_keeps_depth_and_alpha(dtype: type, channels: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 1000, (9, 8, channels)).astype(dtype)
    made = crop(pixels, Crop.from_short("3x2+4+5")).pixels
    assert made.dtype == dtype
    assert np.array_equal(made, pixels[5:7, 4:7])


def test_regions_keep_their_place_on_what_was_cropped(drawing: np.ndarray) -> None:
    whole = Image(drawing, regions=(Region(box=(20, 30, 10, 10)), Region(box=(0, 0, 5, 5)), Region(box=(45, 45, 9, 9))))
    made = whole.derive(crop(drawing, Crop.from_short("40x30+10+20")))
    assert [region.box for region in made.regions] == [(10, 10, 10, 10), (35, 25, 5, 5)]


@pytest.mark.parametrize("short", ["97x10", "10x73", "40x30+57+0", "40x30+0+43", "100x10:west"])
def test_a_box_that_leaves_the_image_is_refused_or_clipped_if_asked(drawing: np.ndarray, short: str) -> None:
    with pytest.raises(ImageError, match="an image of 96x72 pixels cannot be cropped to") as refused:
        crop(drawing, Crop.from_short(short))
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE
    params = Crop.from_short(f"{short},outside=clip")
    x, y, width, height = params.box(96, 72)
    made = crop(drawing, params)
    assert np.array_equal(made.pixels, drawing[max(y, 0) : y + height, max(x, 0) : x + width])


@pytest.mark.parametrize("short", ["1x1+96+0,outside=clip", "1x1+0+500,outside=clip", "0.01%x50%,outside=clip"])
def test_a_box_without_a_pixel_of_the_image_is_refused(drawing: np.ndarray, short: str) -> None:
    with pytest.raises(ImageError, match="have a pixel of it") as refused:
        crop(drawing, Crop.from_short(short))
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE


@pytest.mark.parametrize(
    ("short", "said"),
    [
        (True, "give aspect, or some of"),
        ("16:9,width=5", "but not both"),
        ({"x": 5}, "x and y, or neither"),
        ("0:9", "no side of 0"),
        ("1:2:up", "north"),
        ("0x5", "greater than or equal to 1"),
        ("5x99999", "less than or equal to 32768"),
        ("banana", "is no box; accepted is"),
        ("-5x5", "is no box"),
        ("5x5+1", "is no box"),
        ("16:9,north", "has no name; accepted is NAME=VALUE"),
        ([1, 2, 3], "cannot be read"),
    ],
)
def test_a_crop_that_makes_no_sense_is_refused_with_the_reason(short: Any, said: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=said):
        Crop.from_short(short)

from __future__ import annotations

import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Split
from penstock.steps.split import split


def test_split_gives_four_quadrants_in_reading_order() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    left_top, right_top, left_bottom, right_bottom = (part.pixels for part in split(image, Split()))
    assert np.array_equal(left_top, image[:2, :3])
    assert np.array_equal(right_top, image[:2, 3:])
    assert np.array_equal(left_bottom, image[2:, :3])
    assert np.array_equal(right_bottom, image[2:, 3:])


def test_the_quadrants_joined_give_the_image(image: np.ndarray) -> None:
    if min(image.shape[:2]) < 2:
        pytest.skip("a side of one pixel cannot be split")
    parts = [part.pixels for part in split(image, Split())]
    assert np.array_equal(np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])]), image)


def test_the_quadrants_are_views(drawing: np.ndarray) -> None:
    assert all(np.shares_memory(part.pixels, drawing) for part in split(drawing, Split()))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (9, 1, 3)])
def test_a_side_of_one_pixel_cannot_be_split(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="both sides must be 2 or more") as refused:
        split(np.zeros(shape, np.uint8), Split())
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE


def test_a_disabled_split_returns_the_image_unchanged(drawing: np.ndarray) -> None:
    [whole] = split(drawing, Split(enabled=False))
    assert whole.pixels is drawing

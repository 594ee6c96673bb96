from __future__ import annotations

import cv2
import numpy as np
import pytest

from penstock.common.model.operations import Resize
from penstock.steps.resize import resize


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
    resize(drawing, Resize(width=96, height=72))
    assert np.array_equal(drawing, before)

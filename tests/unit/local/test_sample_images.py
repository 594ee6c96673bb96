"""Sample images: reproducible, and as large as files as photographs are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from penstock.local.sample_images import draw_image, write_images


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (200, 3), (301, 200)])
def test_an_image_has_the_requested_size_and_three_channels(width: int, height: int) -> None:
    image = draw_image(0, width, height)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


def test_equal_seeds_give_equal_pixels_and_different_seeds_different_ones() -> None:
    assert np.array_equal(draw_image(5, 64, 48), draw_image(5, 64, 48))
    assert not np.array_equal(draw_image(5, 64, 48), draw_image(6, 64, 48))


def test_a_jpeg_of_512_pixels_a_side_is_as_large_as_a_photograph(tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in write_images(tmp_path, 3, 512, 512)]
    assert all(100_000 <= size <= 150_000 for size in sizes), sizes


def test_written_images_are_numbered_and_can_be_read_back(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "made" / "here", 2, 40, 30)
    assert [path.name for path in paths] == ["photo-0000.jpg", "photo-0001.jpg"]
    assert [cv2.imread(str(path)).shape for path in paths] == [(30, 40, 3), (30, 40, 3)]

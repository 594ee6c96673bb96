"""The drawn pictures are the same every time and weigh what photographs weigh."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from penstock.local.sample_images import draw_photo, write_photos


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (200, 3), (301, 200)])
def test_a_picture_of_any_size_has_that_size_and_three_channels(width: int, height: int) -> None:
    photo = draw_photo(0, width, height)
    assert photo.shape == (height, width, 3)
    assert photo.dtype == np.uint8


def test_a_seed_gives_the_same_pixels_every_time_and_another_seed_others() -> None:
    assert np.array_equal(draw_photo(5, 64, 48), draw_photo(5, 64, 48))
    assert not np.array_equal(draw_photo(5, 64, 48), draw_photo(6, 64, 48))


def test_a_512_square_weighs_as_a_jpeg_what_a_photograph_weighs(tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in write_photos(tmp_path, 3, 512, 512)]
    assert all(100_000 <= size <= 150_000 for size in sizes), sizes


def test_written_photos_are_named_in_order_and_read_back_at_their_size(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "made" / "here", 2, 40, 30)
    assert [path.name for path in paths] == ["photo-0000.jpg", "photo-0001.jpg"]
    assert [cv2.imread(str(path)).shape for path in paths] == [(30, 40, 3), (30, 40, 3)]

"""Area interpolation by rows: the pixels of OpenCV, for any size and content."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from penstock.steps.area import _resize_by_rows, _rounds_as_opencv, resize_by_area
from penstock.steps.image import Pixels

Content = dict[str, Pixels]


def opencv(image: Pixels, size: tuple[int, int]) -> Pixels:
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def draw(random: np.random.Generator, width: int, height: int) -> Content:
    noise = random.integers(0, 256, (height, width, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return {"noise": noise, "smooth": smooth, "dark": noise // 64, "bright": 255 - noise // 64}


def test_opencv_of_this_machine_adds_in_the_expected_order() -> None:
    assert _rounds_as_opencv()


def test_random_sizes_have_opencvs_pixels(seeded: np.random.Generator) -> None:
    tried = 0
    while tried < 80:
        width, height = (int(side) for side in seeded.integers(20, 420, 2))
        size = int(seeded.integers(1, width + 1)), int(seeded.integers(1, height // 2 + 1))
        if width % size[0] == 0 and height % size[1] == 0:
            continue
        for name, image in draw(seeded, width, height).items():
            made = _resize_by_rows(image, size)
            if made is not None:
                assert np.array_equal(made, opencv(image, size)), f"{name} {width}x{height} to {size}"
                tried += 1


@pytest.mark.parametrize("size", [(200, 150), (512, 384), (301, 97), (1000, 41), (1280, 100)])
def test_large_images_have_opencvs_pixels(seeded: np.random.Generator, size: tuple[int, int]) -> None:
    for image in draw(seeded, 1281, 1023).values():
        assert np.array_equal(resize_by_area(image, size), opencv(image, size))


def test_views_and_read_only_pixels_are_accepted(seeded: np.random.Generator) -> None:
    image = draw(seeded, 1400, 1100)["noise"]
    for view in (image[50:, 100:], image[::-1], image[:, ::2], np.rot90(image)):
        locked = view.view()
        locked.flags.writeable = False
        assert np.array_equal(resize_by_area(locked, (101, 99)), opencv(np.ascontiguousarray(view), (101, 99)))


def test_many_means_of_exactly_a_half_are_left_to_opencv(seeded: np.random.Generator) -> None:
    noise = draw(seeded, 1200, 1200)["noise"]
    size = (450, 450)  # areas of 8/3 × 8/3: one mean in 64 ends in a half
    assert _resize_by_rows(noise, size) is None
    assert np.array_equal(resize_by_area(noise, size), opencv(noise, size))


def test_an_area_of_too_many_pixels_is_left_to_opencv(seeded: np.random.Generator) -> None:
    image = draw(seeded, 1001, 901)["noise"]
    assert _resize_by_rows(image, (2, 2)) is None
    assert np.array_equal(resize_by_area(image, (2, 2)), opencv(image, (2, 2)))


def test_photographs_have_opencvs_pixels(photographs: Path) -> None:
    for path in sorted((photographs / "street").glob("berlin-*.jpg")):
        image = cv2.imread(str(path))
        for size in ((512, 384), (320, 240), (1000, 750), (400, 400)):
            made = _resize_by_rows(image, size)
            assert made is not None
            assert np.array_equal(made, opencv(image, size))

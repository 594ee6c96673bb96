from __future__ import annotations

import pytest
from camera_files import GPANO, panorama, xmp

from penstock.steps.metadata.panorama import move_panorama
from penstock.steps.metadata.xmp_packet import read_xmp
from penstock.steps.transform import IDENTITY, Transform, scaling, shifting

NAMES = (
    "FullPanoWidthPixels",
    "FullPanoHeightPixels",
    "CroppedAreaImageWidthPixels",
    "CroppedAreaImageHeightPixels",
    "CroppedAreaLeftPixels",
    "CroppedAreaTopPixels",
)
SOURCE = (400, 200)


def moved(packet: bytes, transform: Transform | None, width: int, height: int) -> tuple[int, ...] | None:
    """Return a result's sizes in the order of `NAMES`; None if it has nothing of GPano."""
    found = move_panorama(read_xmp(packet).properties, SOURCE, transform, width, height)
    texts = [found[GPANO, name].text for name in NAMES if (GPANO, name) in found]
    assert len(texts) in (0, len(NAMES))
    return tuple(int(text or "") for text in texts) or None


def test_the_sizes_of_a_resized_panorama_are_its_own() -> None:
    assert moved(panorama(*SOURCE), scaling(0.5, 0.25), 200, 50) == (200, 50, 200, 50, 0, 0)


def test_an_unchanged_panorama_keeps_its_sizes() -> None:
    part = panorama(*SOURCE, FullPanoWidthPixels=800, FullPanoHeightPixels=400, CroppedAreaTopPixels=100)
    assert moved(part, IDENTITY, *SOURCE) == (800, 400, *SOURCE, 0, 100)


def test_a_tile_says_where_it_lies_in_the_whole() -> None:
    assert moved(panorama(*SOURCE), shifting(-200, -100), 200, 100) == (*SOURCE, 200, 100, 200, 100)


def test_a_tile_of_a_resized_part_says_where_it_lies_in_the_whole() -> None:
    part = panorama(*SOURCE, FullPanoWidthPixels=800, FullPanoHeightPixels=400, CroppedAreaLeftPixels=100)
    transform = scaling(0.5, 0.5).then(shifting(-100, 0))
    assert moved(part, transform, 100, 100) == (400, 200, 100, 100, 150, 0)


def test_a_file_that_was_resized_without_its_sizes_is_put_right() -> None:
    assert moved(panorama(4_000, 2_000), shifting(-200, 0), 200, 200) == (400, 200, 200, 200, 200, 0)


def test_missing_sizes_are_those_of_a_whole_panorama() -> None:
    bare = xmp('GPano:ProjectionType="equirectangular"', namespaces={"GPano": GPANO})
    assert moved(bare, shifting(0, -100), 400, 100) == (400, 200, 400, 100, 0, 100)


def test_rounding_never_makes_a_part_larger_than_the_whole() -> None:
    width, height, part_width, part_height, left, top = moved(panorama(*SOURCE), scaling(33.6 / 400, 1), 34, 200) or ()
    assert left + part_width <= width
    assert top + part_height <= height


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        (None, SOURCE),
        (Transform(0, 1, 0, -1, 0, 0), (200, 400)),
        (Transform(-1, 0, 400, 0, 1, 0), SOURCE),
        (Transform(1, 0, 0, 0, -1, 200), SOURCE),
        (shifting(50, 0), (500, 200)),
        (shifting(0, 0), (500, 200)),
        (shifting(0, 10), (400, 210)),
    ],
    ids=["unknown", "turned", "mirrored", "upside down", "framed", "padded on the right", "padded on top"],
)
def test_a_picture_that_is_no_panorama_any_more_says_nothing_of_one(
    transform: Transform | None, size: tuple[int, int]
) -> None:
    assert moved(panorama(*SOURCE), transform, *size) is None


@pytest.mark.parametrize(
    "sizes",
    [
        {"FullPanoWidthPixels": "wide"},
        {"FullPanoWidthPixels": "nan"},
        {"FullPanoWidthPixels": "inf"},
        {"FullPanoWidthPixels": 10**30},
        {"FullPanoWidthPixels": 100},
        {"CroppedAreaLeftPixels": -5},
        {"CroppedAreaLeftPixels": 300},
        {"CroppedAreaImageWidthPixels": -400},
    ],
)
def test_sizes_that_make_no_sense_are_left_out(sizes: dict[str, object]) -> None:
    assert moved(panorama(*SOURCE, **sizes), IDENTITY, *SOURCE) is None


def test_the_largest_inner_rectangle_is_left_out_and_the_heading_kept() -> None:
    packet = panorama(*SOURCE, LargestValidInteriorRectLeft=3)
    found = move_panorama(read_xmp(packet).properties, SOURCE, scaling(0.5, 0.5), 200, 100)
    assert (GPANO, "LargestValidInteriorRectLeft") not in found
    assert found[GPANO, "PoseHeadingDegrees"].text == "123.5"

"""Where an image was taken, by its EXIF."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from camera_files import exif

from penstock.common.model.regions import Place
from penstock.steps.metadata.place import read_place


def test_the_place_of_a_photograph_has_degrees_metres_and_heading() -> None:
    expected = Place(longitude=4.3571, latitude=52.0116, altitude=87.4, heading=143.2)
    assert read_place(exif()) == expected


def test_south_west_and_below_the_sea_are_negative() -> None:
    place = read_place(exif(gps={1: "S", 3: "W", 5: b"\1"}))
    assert place == Place(longitude=-4.3571, latitude=-52.0116, altitude=-87.4, heading=143.2)


@pytest.mark.parametrize(
    "gps",
    [
        {2: (91.0, 0.0, 0.0)},
        {4: (181.0, 0.0, 0.0)},
        {1: "X"},
        {1: ""},
        {2: (52.0, 0.0)},
        {2: (1.0,) * 9},
    ],
)
def test_a_place_that_cannot_be_is_none(gps: dict[int, Any]) -> None:
    assert read_place(exif(gps=gps)) is None


def test_unknown_numbers_are_left_out() -> None:
    data = exif()
    heading = struct.pack(">II", 716, 5)
    assert data.count(heading) == 1
    assert read_place(data.replace(heading, bytes(8))) == Place(longitude=4.3571, latitude=52.0116, altitude=87.4)


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0\x08\0\0\0", b"\xff" * 100])
def test_damaged_exif_has_no_place(data: bytes) -> None:
    assert read_place(data) is None


@pytest.mark.parametrize("end", range(8, 400, 7))
def test_truncated_exif_has_a_place_or_none(end: int) -> None:
    read_place(exif()[:end])

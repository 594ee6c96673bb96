"""GeoTIFF: tags of place in a TIFF result, after its pixels were moved."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tifffile

from penstock.common.model.operations import Decode, Encode
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode
from penstock.steps.image import Image
from penstock.steps.transform import IDENTITY, Transform, scaling, shifting

LIMITS = Limits()
SCALE, TIEPOINT = (0.25, 0.5, 0.0), (0.0, 0.0, 0.0, 84_000.0, 447_000.0, 0.0)
KEYS_AREA = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 28_992)
KEYS_POINT = (*KEYS_AREA[:11], 2, *KEYS_AREA[12:])
TAGS = {"ModelPixelScaleTag": 33_550, "ModelTiepointTag": 33_922, "ModelTransformationTag": 34_264}
TAGS |= {"GeoKeyDirectoryTag": 34_735, "GeoDoubleParamsTag": 34_736, "GeoAsciiParamsTag": 34_737}


def geotiff(order: str = "<", *, big: bool = False, keys: tuple[int, ...] = KEYS_AREA, **values: Any) -> bytes:
    values = {"ModelPixelScaleTag": SCALE, "ModelTiepointTag": TIEPOINT} | values
    tags: list[Any] = [(TAGS[name], 12, len(each), each, True) for name, each in values.items() if each]
    tags += [(34_735, 3, len(keys), keys, True), (34_737, 2, 9, "Amersfoo|", True), (34_736, 12, 1, (6377.4,), True)]
    file = io.BytesIO()
    pixels = np.zeros((40, 60, 3), np.uint8)
    tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, byteorder=order, bigtiff=big, extratags=tags)
    return file.getvalue()


def write(image: Image, transform: Transform | None) -> dict[str, Any]:
    """Write an image as TIFF, and return the GeoTIFF tags of the file."""
    data = encode(replace(image, transform=transform), Encode(format="tiff"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        return {name: tags[name].value for name in TAGS if name in tags}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_place_and_coordinate_system_are_kept_unchanged(order: str, big: bool) -> None:
    tags = write(decode(geotiff(order, big=big), LIMITS), IDENTITY)
    assert tags["ModelPixelScaleTag"] == SCALE
    assert tags["ModelTiepointTag"] == TIEPOINT
    assert tags["GeoKeyDirectoryTag"] == KEYS_AREA
    assert tags["GeoDoubleParamsTag"] in (6377.4, (6377.4,))
    assert tags["GeoAsciiParamsTag"] == "Amersfoo|"


def test_a_resized_image_has_larger_pixels_at_the_same_place() -> None:
    tags = write(decode(geotiff(), LIMITS), scaling(0.5, 0.25))
    assert tags["ModelPixelScaleTag"] == (0.5, 2.0, 0.0)
    assert tags["ModelTiepointTag"] == TIEPOINT


def test_a_part_of_an_image_begins_where_it_was_cut() -> None:
    tags = write(decode(geotiff(), LIMITS), shifting(-30, -20))
    assert tags["ModelPixelScaleTag"] == SCALE
    assert tags["ModelTiepointTag"] == (0, 0, 0, 84_000 + 30 * 0.25, 447_000 - 20 * 0.5, 0)


def test_positions_of_the_centres_of_pixels_stay_centres() -> None:
    tags = write(decode(geotiff(keys=KEYS_POINT), LIMITS), scaling(0.5, 0.5))
    # the new first pixel covers two old ones each way: its centre is half an old pixel from the old centre
    assert tags["ModelTiepointTag"] == (0, 0, 0, 84_000 + 0.5 * 0.25, 447_000 - 0.5 * 0.5, 0)


def test_a_turned_image_is_placed_by_a_matrix() -> None:
    quarter = Transform(0, -1, 40, 1, 0, 0)  # clockwise: (x, y) goes to (40 - y, x)
    tags = write(decode(geotiff(), LIMITS), quarter)
    assert "ModelPixelScaleTag" not in tags
    a, b, _, x, d, e, _, y = tags["ModelTransformationTag"][:8]
    for column, row in ((0, 0), (60, 0), (13, 7)):
        across, down = quarter.apply(column, row)
        assert a * across + b * down + x == pytest.approx(84_000 + 0.25 * column)
        assert d * across + e * down + y == pytest.approx(447_000 - 0.5 * row)


def test_a_matrix_and_single_points_follow_their_pixels() -> None:
    matrix = (0.25, 0.1, 0, 84_000, 0.1, -0.5, 0, 447_000, 0, 0, 0, 0, 0, 0, 0, 1)
    turned = geotiff(ModelTransformationTag=matrix, ModelPixelScaleTag=(), ModelTiepointTag=())
    tags = write(decode(turned, LIMITS), scaling(0.5, 0.5))
    assert tags["ModelTransformationTag"][:8] == pytest.approx((0.5, 0.2, 0, 84_000, 0.2, -1.0, 0, 447_000))
    points = (0, 0, 0, 4.3, 52.0, 0, 60, 40, 0, 4.4, 51.9, 0)
    tags = write(decode(geotiff(ModelPixelScaleTag=(), ModelTiepointTag=points), LIMITS), scaling(0.5, 0.25))
    assert tags["ModelTiepointTag"] == (0, 0, 0, 4.3, 52.0, 0, 30, 10, 0, 4.4, 51.9, 0)


def test_a_place_is_left_out_where_it_is_unknown_unwanted_or_of_other_pixels() -> None:
    data = geotiff()
    assert write(decode(data, LIMITS), None) == {}
    assert write(decode(data, LIMITS, Decode(metadata="none")), IDENTITY) == {}
    assert write(decode(data, LIMITS, Decode(metadata="geo")), IDENTITY)["ModelTiepointTag"] == TIEPOINT
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages[0].tags.get(274) is None  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [0, 2, 5, 17])
def test_tags_with_the_wrong_number_of_values_are_left_out(count: int) -> None:
    odd = geotiff(ModelPixelScaleTag=(), ModelTiepointTag=(1.5,) * count)
    assert "ModelTiepointTag" not in write(decode(odd, LIMITS), scaling(0.5, 0.5))

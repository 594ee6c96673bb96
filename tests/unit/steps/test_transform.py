"""Transform and Image: regions follow pixels, and are cut where pixels end."""

from __future__ import annotations

from math import cos, hypot, pi, sin

import numpy as np
import pytest

from penstock.common.model.regions import MAX_POINTS, Region
from penstock.steps.image import Image, StepOutput
from penstock.steps.transform import IDENTITY, Transform, move_regions, scaling, shifting

FACE = Region(box=(8, 6, 16, 12), label="face", score=0.5)


def moved(region: Region, transform: Transform, width: int = 40, height: int = 30) -> list[Region]:
    return list(move_regions([region], transform, width, height))


@pytest.mark.parametrize(
    ("transform", "box"),
    [
        (IDENTITY, (8, 6, 16, 12)),
        (scaling(0.5, 2), (4, 12, 8, 18)),
        (shifting(-10, -8), (0, 0, 14, 10)),
        (shifting(20, 20), (28, 26, 12, 4)),
        (Transform(xx=-1, x0=40), (16, 6, 16, 12)),
        (Transform(xx=0, xy=1, yx=1, yy=0), (6, 8, 12, 16)),
    ],
    ids=["nothing", "scaled", "cut at the left top", "cut at the right bottom", "mirrored", "transposed"],
)
def test_a_box_stays_a_box(transform: Transform, box: tuple[float, ...]) -> None:
    [found] = moved(FACE, transform)
    assert found == FACE.model_copy(update={"box": box})


def test_regions_outside_or_without_an_area_are_left_out() -> None:
    assert moved(FACE, shifting(40, 0)) == []
    assert moved(FACE, shifting(0, -18)) == [], "it only touches the edge"
    assert moved(Region(box=(3, 3, 0, 5)), IDENTITY) == []
    assert moved(Region(polygon=((1, 1), (2, 1), (3, 1))), IDENTITY) == []


def test_a_box_turned_by_an_angle_becomes_a_polygon_with_its_label() -> None:
    turn = Transform(cos(pi / 4), -sin(pi / 4), 20, sin(pi / 4), cos(pi / 4), 5)
    [found] = moved(Region(box=(0, 0, 10, 10), label="sign"), turn)
    assert (found.box, found.label) == (None, "sign")
    assert found.polygon is not None
    half = 10 * sin(pi / 4)
    expected = [(20, 5), (20 + half, 5 + half), (20, 5 + 2 * half), (20 - half, 5 + half)]
    assert np.allclose(sorted(found.polygon), sorted(expected))


def test_a_polygon_is_cut_at_the_edges() -> None:
    [found] = moved(Region(polygon=((-10, 10), (10, -10), (10, 10))), IDENTITY)
    assert found.polygon is not None
    assert set(found.polygon) == {(0, 0), (0, 10), (10, 0), (10, 10)}


def test_a_polygon_with_too_many_corners_once_cut_becomes_the_box_around_it() -> None:
    zigzag = tuple((float(x), -1.0 if x % 2 else 20.0) for x in range(MAX_POINTS - 1))
    [found] = moved(Region(polygon=(*zigzag, (254.0, 25.0)), label="hedge"), IDENTITY, width=300)
    assert found == Region(box=(0, 0, 254, 25), label="hedge")


def test_maps_are_composed_in_order() -> None:
    turn = Transform(0, -1, 30, 1, 0, 0)
    both = scaling(2, 3).then(shifting(1, -1)).then(turn)
    for point in ((0.0, 0.0), (5.0, 7.0)):
        expected = turn.apply(*shifting(1, -1).apply(*scaling(2, 3).apply(*point)))
        assert hypot(*np.subtract(both.apply(*point), expected)) < 1e-9


PIXELS = np.zeros((30, 40, 3), np.uint8)
IMAGE = Image(PIXELS, regions=(FACE,))
PLATE = Region(box=(0, 0, 2, 2), label="plate")


def test_regions_that_a_step_found_are_added() -> None:
    assert IMAGE.derive(PIXELS.copy()).regions == (FACE,)
    assert IMAGE.derive(StepOutput(PIXELS, regions=[PLATE])).regions == (FACE, PLATE)
    half = IMAGE.derive(StepOutput(PIXELS[:15, :20], scaling(0.5, 0.5), [PLATE]))
    assert half.regions == (FACE.model_copy(update={"box": (4, 3, 8, 6)}), PLATE)
    assert half.derive(StepOutput(PIXELS[:5, :5], shifting(-1, -2))).transform == Transform(0.5, 0, -1, 0, 0.5, -2)


def test_regions_are_dropped_with_a_warning_if_nobody_knows_where_pixels_went() -> None:
    lost = IMAGE.derive(StepOutput(PIXELS[:10], regions=[PLATE]))
    assert (lost.regions, lost.transform, lost.warnings) == ((PLATE,), None, ("regions_dropped",))
    assert Image(PIXELS).derive(PIXELS[:10]).warnings == ()
    again = lost.derive(StepOutput(PIXELS[:5, :20], scaling(0.5, 0.5)))
    assert (again.transform, again.regions) == (None, (Region(box=(0, 0, 1, 1), label="plate"),))


def test_a_polygon_whose_outline_crosses_itself_is_kept() -> None:
    crossed = Region(polygon=((10, 10), (60, 60), (60, 10), (10, 60)), label="face")
    assert [*move_regions([crossed], IDENTITY, 100, 100)] == [crossed]
    line = Region(polygon=((10, 10), (60, 10), (30, 10)))
    assert [*move_regions([line], IDENTITY, 100, 100)] == []

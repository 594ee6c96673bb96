from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.geometry import Tile
from penstock.common.model.operations import Split
from penstock.common.model.parameters import Extent
from penstock.common.model.plan import Planned, make_plan
from penstock.common.model.regions import Region
from penstock.common.settings import Limits
from penstock.steps.image import Image
from penstock.steps.split import split
from penstock.steps.tile import tile
from penstock.worker.executors.in_process import InProcessExecutor


def test_two_by_two_equals_split(image: np.ndarray) -> None:
    if min(image.shape[:2]) < 2:
        pytest.skip("a side of one pixel cannot be split")
    expected = split(image, Split())
    made = tile(image, Tile.from_short("2x2"))
    assert [part.transform for part in made] == [part.transform for part in expected]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(made, expected, strict=True))


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (3, 2), (7, 5), (96, 1), (5, 72)])
def test_the_tiles_of_a_grid_joined_give_the_image(drawing: np.ndarray, columns: int, rows: int) -> None:
    params = Tile.from_short(f"{columns}x{rows}")
    parts = [part.pixels for part in tile(drawing, params)]
    assert params.parts == len(parts) == columns * rows
    lines = [np.hstack(parts[start : start + columns]) for start in range(0, len(parts), columns)]
    assert np.array_equal(np.vstack(lines), drawing)
    assert all(np.shares_memory(part, drawing) for part in parts)


@pytest.mark.parametrize("size", ["32", "32px", "32x32px", "50x10px", "100", "7x96px"])
def test_tiles_of_a_size_joined_give_the_image(drawing: np.ndarray, size: str) -> None:
    params = Tile.from_short(size)
    parts = [part.pixels for part in tile(drawing, params)]
    columns = -(-96 // params.width)  # type: ignore[operator]
    lines = [np.hstack(parts[start : start + columns]) for start in range(0, len(parts), columns)]
    assert params.parts is None
    assert parts[0].shape[:2] == (min(72, params.height), min(96, params.width))  # type: ignore[type-var]
    assert np.array_equal(np.vstack(lines), drawing)


@pytest.mark.parametrize("short", ["3x2", "32", "40x30px", "11"])
@pytest.mark.parametrize("overlap", [1, 4, 9])
def test_neighbours_share_the_overlap(short: str, overlap: int) -> None:
    columns, rows = Tile.from_short(f"{short},overlap={overlap}").spans(96, 72)
    for spans, length in ((columns, 96), (rows, 72)):
        assert (spans[0][0], spans[-1][1]) == (0, length)
        assert [end - start for (_, end), (start, _) in pairwise(spans)] == [overlap] * (len(spans) - 1)


def test_every_tile_has_pixels_of_its_own() -> None:
    for length in range(1, 60):
        columns, _ = Tile(width=16, height=16, overlap=5).spans(length, 1)
        assert len(columns) == max(1, -(-(length - 5) // 11))
        assert all(end > before for (_, before), (_, end) in pairwise(columns))


def test_a_shifted_last_tile_has_full_size(drawing: np.ndarray) -> None:
    made = [part.pixels for part in tile(drawing, Tile.from_short("40,last=shifted"))]
    assert [part.shape[:2] for part in made] == [(40, 40)] * 6
    assert np.array_equal(made[-1], drawing[-40:, -40:])
    assert [part.pixels.shape[:2] for part in tile(drawing, Tile.from_short("100,last=shifted"))] == [(72, 96)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiles_keep_depth_and_alpha(dtype: type, channels: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 1000, (9, 8, channels)).astype(dtype)
    for part in tile(pixels, Tile.from_short("2x2")):
        assert (part.pixels.dtype, part.pixels.shape[2]) == (dtype, channels)


def test_a_region_is_on_every_tile_that_shows_some_of_it(drawing: np.ndarray) -> None:
    image = Image(drawing, regions=(Region(box=(40, 10, 20, 10)),))
    parts = [image.derive(part) for part in tile(drawing, Tile.from_short("2x2"))]
    assert [[region.box for region in part.regions] for part in parts] == [[(40, 10, 8, 10)], [(0, 10, 12, 10)], [], []]


def test_the_number_of_tiles_is_refused_before_they_are_made() -> None:
    big = Image(np.zeros((1_000, 1_000, 3), np.uint8))
    with pytest.raises(ImageError, match="tile made 1000000 parts; accepted are 1 to 4096"):
        InProcessExecutor(Limits()).perform(Planned("tile", Tile.from_short("1")), [big])
    with pytest.raises(ImageError, match=r"tile made \d+ pixels"):
        InProcessExecutor(Limits(max_pixels=2_000_000)).perform(
            Planned("tile", Tile.from_short("40,overlap=20")), [big]
        )


def test_what_a_tile_makes_is_known_from_the_size(drawing: np.ndarray) -> None:
    for short in ("3x2", "3x2,overlap=7", "40", "40,overlap=3", "40,last=shifted"):
        params = Tile.from_short(short)
        shapes = [part.pixels.shape for part in tile(drawing, params)]
        assert params.extent(96, 72) == Extent(len(shapes), sum(shape[0] * shape[1] for shape in shapes))


def test_a_plan_says_how_many_tiles_there_are_if_it_knows() -> None:
    assert make_plan([["tile", "3x2"], "split"], None, Limits()).parts == 24
    assert make_plan([["tile", 512], "split"], None, Limits()).parts is None
    assert make_plan([["tile", "1x1"]], None, Limits()).steps == ("encode",)


def test_more_tiles_than_pixels_do_not_apply() -> None:
    with pytest.raises(ImageError, match="image of 5x9 pixels cannot be cut into 6x1 tiles") as refused:
        tile(np.zeros((9, 5, 3), np.uint8), Tile.from_short("6x1"))
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE


@pytest.mark.parametrize(
    ("short", "said"),
    [
        (True, "columns and rows, or width and height"),
        ({"columns": 3}, "columns and rows, or width and height"),
        ("3x2,width=5", "columns and rows, or width and height"),
        ("0x2", "greater than or equal to 1"),
        ("8,overlap=8", "smaller than a tile"),
        ("8,overlap=-1", "greater than or equal to 0"),
        ("3x2x1", "neither a grid nor a size"),
        ("wide", "neither a grid nor a size"),
    ],
)
def test_tiles_that_make_no_sense_are_refused_with_the_reason(short: Any, said: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=said):
        Tile.from_short(short)

"""Resize parameters: short forms, refusals, and the arithmetic of sizes."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.common.model.errors import PlanError
from penstock.common.model.operations import Resize
from penstock.common.model.plan import read_operation


def long_form(short: Any) -> dict[str, Any]:
    return read_operation(["resize", short], "/0").document()


def made_size(short: str, width: int, height: int) -> tuple[int, int]:
    return Resize.from_short(short).lay_out(width, height).canvas


@pytest.mark.parametrize(
    ("short", "fields"),
    [
        ("512x384", {"width": 512, "height": 384}),
        ("512X384", {"width": 512, "height": 384}),
        ("1024x", {"width": 1024}),
        ("x768", {"height": 768}),
        ("50%", {"percent": 50.0}),
        ("12.5%", {"percent": 12.5}),
        ("longest:1024", {"longest": 1024}),
        ("longest:1024>", {"longest": 1024, "enlarge": False}),
        ("fill:512x384", {"width": 512, "height": 384}),
        ("inside:512x384", {"width": 512, "height": 384, "fit": "inside"}),
        ("outside:512x384", {"width": 512, "height": 384, "fit": "outside"}),
        ("cover:512x384", {"width": 512, "height": 384, "fit": "cover"}),
        ("cover:512x384,gravity=north", {"width": 512, "height": 384, "fit": "cover", "gravity": "north"}),
        (
            "pad:512x384,gravity=south,background=#001122",
            {"width": 512, "height": 384, "fit": "pad", "gravity": "south", "background": "#001122"},
        ),
        ("inside:512x384>", {"width": 512, "height": 384, "fit": "inside", "enlarge": False}),
        ("x5,enlarge=false,interpolation=cubic", {"height": 5, "enlarge": False, "interpolation": "cubic"}),
        ("512x384>", {"width": 512, "height": 384, "fit": "inside", "enlarge": False}),
        ("512x384^", {"width": 512, "height": 384, "fit": "outside"}),
        ("512x384^>", {"width": 512, "height": 384, "fit": "outside", "enlarge": False}),
        ("512x384!", {"width": 512, "height": 384}),
        ("1024x>", {"width": 1024, "enlarge": False}),
    ],
)
def test_a_short_form_stands_for_its_fields(short: str, fields: dict[str, Any]) -> None:
    assert long_form(short) == {"op": "resize", **fields}
    assert long_form(fields) == long_form(short)


def test_fields_at_their_defaults_are_left_out_of_a_document() -> None:
    given = {"width": 5, "height": 6, "longest": None, "fit": "fill", "enlarge": True, "interpolation": "area"}
    assert long_form(given) == {"op": "resize", "width": 5, "height": 6}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "resize needs a size, e.g. resize=1024x768 or resize=inside:1024x768"),
        (
            {"width": 5, "percent": 50},
            "or percent, and nothing else of these",
        ),
        ({"longest": 5, "percent": 50}, "and nothing else of these"),
        ("cover:5x", "resize: fit cover needs width and height"),
        ({"longest": 5, "fit": "pad"}, "resize: fit pad needs width and height"),
        ("contain:5x5", "resize fit: 'contain' is not accepted; accepted are fill, inside, cover, outside and pad"),
        ("cover:5x5,gravity=up", "resize gravity: 'up' is not accepted; accepted are centre, north, "),
        ("0%", "resize percent: '0' is not accepted; accepted is more than 0"),
        ("100001%", "resize percent: '100001' is not accepted; accepted is up to 100000"),
        ({"percent": float("nan")}, "resize percent: NaN is not accepted; accepted is a finite number"),
        ("longest:0", "resize longest: '0' is not accepted; accepted is 1 or more"),
        ("inside:5x5^", "resize: inside and ^ are two ways to fit; accepted is one of them"),
        ("x", "resize: 'x' is not a size; accepted is WIDTHxHEIGHT, such as 512x512 or inside:1024x768"),
        ("%", "resize: '%' is not a size"),
        ("512x512<", "resize: '512x512<' is not a size"),
        ("inside:512x512:", "is not a size"),
        ({"width": 5, "height": 5, "background": "red"}, "resize background: "),
        (
            {"width": 5, "height": 5, "interpolation": "magic"},
            "resize interpolation: 'magic' is not accepted; ",
        ),
    ],
)
def test_a_bad_size_is_refused_in_one_line(value: Any, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        long_form(value)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("short", "width", "height", "made"),
    [
        ("inside:512x512", 3264, 2448, (512, 384)),
        ("inside:512x512", 2448, 3264, (384, 512)),
        ("inside:512x512", 100, 50, (512, 256)),
        ("inside:512x512>", 100, 50, (100, 50)),
        ("outside:512x512", 3264, 2448, (683, 512)),
        ("outside:512x512>", 100, 50, (100, 50)),
        ("cover:512x512", 3264, 2448, (512, 512)),
        ("cover:512x512", 100, 50, (512, 512)),
        ("cover:512x512>", 100, 50, (100, 50)),
        ("cover:512x512>", 1000, 200, (512, 200)),
        ("pad:512x300", 100, 50, (512, 300)),
        ("fill:512x300", 100, 400, (512, 300)),
        ("fill:512x300>", 100, 400, (100, 300)),
        ("1024x", 3264, 2448, (1024, 768)),
        ("x768", 3264, 2448, (1024, 768)),
        ("1024x>", 100, 50, (100, 50)),
        ("longest:1024", 2448, 3264, (768, 1024)),
        ("50%", 3264, 2448, (1632, 1224)),
        ("50%", 5, 3, (3, 2)),
        ("33.3%", 1000, 1000, (333, 333)),
        ("200%>", 100, 50, (100, 50)),
        ("1%", 30, 3000, (1, 30)),
        ("inside:100x100", 1, 10_000, (1, 100)),
        ("longest:1", 400, 300, (1, 1)),
    ],
)
def test_sides_are_rounded_to_the_nearest_pixel_and_at_least_one(
    short: str, width: int, height: int, made: tuple[int, int]
) -> None:
    assert made_size(short, width, height) == made


@pytest.mark.parametrize("width", [1, 2, 3, 7, 640, 1023, 4000])
@pytest.mark.parametrize("height", [1, 2, 5, 479, 1024, 3000])
@pytest.mark.parametrize("enlarge", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (512, 512), (33, 700), (701, 3)])
def test_every_fit_keeps_its_promise_for_every_shape(
    width: int, height: int, enlarge: bool, size: tuple[int, int]
) -> None:
    made = {}
    for fit in ("fill", "inside", "cover", "outside", "pad"):
        given = {"width": size[0], "height": size[1], "fit": fit, "enlarge": enlarge}
        layout = Resize.model_validate(given).lay_out(width, height)
        x, y, box_width, box_height = layout.box
        assert min(x, y) >= 0
        assert min(box_width, box_height) >= 1
        assert x + box_width <= width
        assert y + box_height <= height
        assert min(layout.size) >= 1
        assert min(layout.at) >= 0
        assert all(at + side <= full for at, side, full in zip(layout.at, layout.size, layout.canvas, strict=True))
        made[fit] = layout
    assert made["pad"].canvas == size
    assert made["pad"].size == made["inside"].canvas
    assert all(side <= limit for side, limit in zip(made["inside"].canvas, size, strict=True))
    assert all(side <= limit for side, limit in zip(made["cover"].canvas, size, strict=True))
    if enlarge:
        assert made["fill"].canvas == made["cover"].canvas == size
        assert any(side == limit for side, limit in zip(made["inside"].canvas, size, strict=True))
        assert all(side >= limit for side, limit in zip(made["outside"].canvas, size, strict=True))
    else:
        assert made["fill"].canvas == (min(width, size[0]), min(height, size[1]))
        assert all(side <= own for side, own in zip(made["outside"].canvas, (width, height), strict=True))


def test_only_a_size_that_every_image_gets_is_fixed() -> None:
    shorts = ["8x6", "cover:8x6", "pad:8x6", "pad:8x6>", "fill:8x6>", "inside:8x6", "outside:8x6", "8x", "50%"]
    fixed = [Resize.from_short(short).fixed_size for short in shorts]
    assert fixed == [(8, 6)] * 4 + [None] * 5

"""Sidecars: which image each is for, and which content is refused."""

from __future__ import annotations

import json
import re

import pytest

from penstock.common.model.regions import MAX_REGIONS, Region
from penstock.common.sidecars import (
    MAX_BYTES,
    Sidecars,
    described_name,
    read_sidecar,
    sidecar_names,
    stored_regions,
    write_regions,
)

FACE = {"box": [1, 2, 3.5, 4], "label": "face", "score": 0.75}
REGION = Region(box=(1, 2, 3.5, 4), label="face", score=0.75)


def test_a_sidecar_is_named_after_its_image_with_or_without_its_suffix() -> None:
    assert described_name("a/x.jpg.regions.json") == "a/x.jpg"
    assert described_name("a/x.regions.json") == "a/x"
    others = ("x.jpg", "regions.json", ".regions.json", "a/.regions.json", "x.regions.json.jpg")
    assert [described_name(name) for name in others] == [None] * 5
    assert sidecar_names("x.jpg") == ("x.jpg.regions.json", "x.regions.json")
    assert sidecar_names("x") == ("x.regions.json",)


def test_the_whole_name_goes_before_the_name_without_suffix() -> None:
    assert sidecars_of(["x", "y.jpg", "y"], ["x.jpg", "x.png", "y.jpg", "y.png", "z.jpg"]) == (
        ["x", "x", "y.jpg", "y", None],
        [],
    )


def test_names_that_differ_in_case_or_composition_alone_are_the_same() -> None:
    assert described_name("X.JPG.Regions.JSON") == "X.JPG"
    assert sidecars_of(["X.JPG", "cafe\u0301", "n"], ["x.jpg", "caf\u00e9.png", "N.tiff"]) == (
        ["X.JPG", "cafe\u0301", "n"],
        [],
    )


def test_of_several_images_whose_names_are_the_same_each_has_the_sidecar_of_exactly_its_name() -> None:
    assert sidecars_of(["X.jpg", "Y.jpg"], ["x.jpg", "X.jpg", "y.jpg", "Y.JPG"]) == (
        [None, "X.jpg", None, None],
        ["Y.jpg"],
    )


def test_a_sidecar_that_describes_no_image_is_an_orphan() -> None:
    assert sidecars_of(["x.jpg", "gone"], ["x.jpg"]) == (["x.jpg"], ["gone"])
    assert sidecars_of([], ["x.jpg"]) == ([None], [])


def sidecars_of(described: list[str], images: list[str]) -> tuple[list[str | None], list[str]]:
    """Return which sidecar each image has, and the orphans."""
    sidecars = Sidecars([(name, name) for name in described], images)
    return [sidecars.find(name) for name in images], sidecars.orphans()


@pytest.mark.parametrize("document", [[FACE], {"regions": [FACE]}, {"regions": [FACE], "tool": "by hand"}])
def test_a_list_and_an_object_are_read(document: object) -> None:
    assert read_sidecar(json.dumps(document).encode()) == (REGION,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not JSON: EOF while parsing a value at line 1 column 0"),
        (b"\xff", "it is not JSON: expected value at line 1 column 1"),
        (b"{}", 'it has no "regions"; accepted are {"regions": […]} and a list of regions'),
        (b"7", "regions are a list, not int"),
        (b'{"regions": {"box": [0, 0, 1, 1]}}', "regions are a list, not dict"),
        (
            b'[{"box": [0, 0, 1, 1]}, {"label": "face"}]',
            "regions[1]: a region has either a box or a polygon",
        ),
        (b'[{"box": [0, 0, -1, 1]}]', "regions[0]: a box has a width and a height of 0 or more"),
        (b'[{"box": [0, 0, 1]}]', "regions[0].box[3]: missing, but required"),
        (b'[{"box": [0, 0, 1, 1], "score": 2}]', "regions[0].score: 2 is not accepted; accepted is up to 1"),
        (b"[NaN]", "it is not JSON: expected value at line 1 column 2"),
        (b" " * MAX_BYTES + b"[]", f"it has more than {MAX_BYTES} bytes, which is the limit"),
    ],
    ids=range(11),
)
def test_other_content_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_sidecar(data)


def test_too_many_regions_are_refused() -> None:
    box = {"box": [0, 0, 1, 1]}
    assert len(read_sidecar(json.dumps([box] * MAX_REGIONS).encode())) == MAX_REGIONS
    with pytest.raises(ValueError, match="accepted is up to 1000 entries"):
        read_sidecar(json.dumps([box] * (MAX_REGIONS + 1)).encode())


def test_stored_regions_are_regions_or_a_reference() -> None:
    regions = (REGION, Region(polygon=((0, 0), (1, 0), (1, 1))))
    assert stored_regions(write_regions(regions)) == regions
    assert stored_regions(write_regions(())) == ()
    assert stored_regions("uploads/u/3") == "uploads/u/3"

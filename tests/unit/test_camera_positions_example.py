"""The example that writes input for OpenSfM: its files, and its parameters wherever they are declared."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.regions import Place
from penstock.common.settings import Limits
from penstock.steps.groups.image import GroupImage

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "camera-positions"
LIMITS = Limits()


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(EXAMPLE)
    import penstock_camera_positions

    yield penstock_camera_positions
    del sys.modules["penstock_camera_positions"]


@pytest.fixture
def run(package: Any) -> Callable[..., dict[str, bytes]]:
    """Runs the step on images of these names and places."""

    def never() -> bytes:
        raise AssertionError("no file needs to be read")

    def perform(images: dict[str, Place | None], **params: Any) -> dict[str, bytes]:
        group = [GroupImage(name, 2000, 1500, (), place, {}, never, LIMITS) for name, place in images.items()]
        return package.camera_positions(iter(group), package.CameraPositions(**params))

    return perform


def test_the_files_are_those_that_opensfm_reads(run: Any, tmp_path: Path) -> None:
    place = Place(longitude=4.357, latitude=52.011, altitude=3.5)
    files = run({"delft/Ü 1.jpg": place, "delft/2.jpg": None, "lund/3.jpg": Place(longitude=1, latitude=2)}, dop=5)
    assert json.loads(files["exif_overrides.json"]) == {
        "Ü 1.jpg": {
            "width": 2000,
            "height": 1500,
            "orientation": 1,
            "gps": {"latitude": 52.011, "longitude": 4.357, "altitude": 3.5, "dop": 5},
        },
        "2.jpg": {"width": 2000, "height": 1500, "orientation": 1},
        "3.jpg": {
            "width": 2000,
            "height": 1500,
            "orientation": 1,
            "gps": {"latitude": 2, "longitude": 1, "dop": 5},
        },
    }
    paths = files["image_list.txt"].decode().splitlines()
    folder = tmp_path / "north" / "camera-positions"
    assert [(folder / path).resolve() for path in paths] == [
        tmp_path.resolve() / name for name in ("delft/Ü 1.jpg", "delft/2.jpg", "lund/3.jpg")
    ]


def test_images_of_the_same_name_in_two_folders_are_refused(run: Any) -> None:
    with pytest.raises(ImageError) as caught:
        run({"delft/1.jpg": None, "lund/1.jpg": None})
    assert caught.value.code is ImageCode.PARAMETER_NOT_APPLICABLE
    assert caught.value.message.startswith("lund/1.jpg and delft/1.jpg have the same name")


def test_the_chart_declares_the_parameters_of_the_package(package: Any) -> None:
    values = yaml.safe_load((EXAMPLE / "values.yaml").read_text())["steps"]["camera-positions"]
    schema = package.CameraPositions.model_json_schema()
    fields = {
        name: {key: value for key, value in item.items() if key != "title"}
        for name, item in schema["properties"].items()
    }
    assert values["params"]["properties"] == fields
    assert values["group"] is package.camera_positions.takes_group is True

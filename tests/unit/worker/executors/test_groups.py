"""Group steps: what they return, in this process, in a program, and behind stdin and stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from example_steps import GATHERING

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.plan import read_operation
from penstock.common.model.regions import Place, Region
from penstock.common.model.stdio_protocol import MAX_LINE_BYTES
from penstock.common.registry import declare_steps, group_steps
from penstock.common.settings import DeclaredStep, Limits, WorkerSettings
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import StepOutput
from penstock.worker.executors.external import ExternalExecutor
from penstock.worker.executors.group_results import collect_results
from penstock.worker.executors.stdio_server import StdioServer
from penstock.worker.memory import WorkerMemory

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
FILE = cv2.imencode(".png", PIXELS)[1].tobytes()
REGION = Region(box=(1, 1, 2, 2), label="face")
PLACE = Place(longitude=13.4, latitude=52.5)


def group(count: int, name: str = "north/{}.png") -> Iterator[GroupImage]:
    for number in range(count):
        yield GroupImage(name.format(number), 6, 4, (REGION,), PLACE, {"region": "n"}, lambda: FILE, Limits())


Perform = Callable[..., list[Any]]


@pytest.fixture
def perform() -> Iterator[Perform]:
    """Runs the program's step on a group of so many images; it accepts files of some types."""
    declare_steps({"gathering": DeclaredStep(group=True)})
    started: list[ExternalExecutor] = []

    def run(count: int, *accepted: str, name: str = "north/{}.png", **params: Any) -> list[Any]:
        settings = WorkerSettings(program=(sys.executable, str(GATHERING), *accepted))
        executor = ExternalExecutor(settings, Limits(), frozenset(["gathering"]))
        started.append(executor)
        operation = read_operation({"op": "gathering", **params}, "")
        return executor.perform_on_group(operation, group(count, name))

    yield run
    for executor in started:
        executor.close()
    declare_steps({})


def test_a_program_gets_the_names_of_a_group_and_all_that_is_known(perform: Perform) -> None:
    assert "gathering" in group_steps()
    [file] = perform(3, "png")
    assert (file.name, file.media_type, file.extension) == ("poses.json", "application/json", "json")
    found = json.loads(file.data)
    assert found["in"] == 3
    assert found["images"][2] == {
        "name": "north/2.png",
        "width": 6,
        "height": 4,
        "regions": [{"box": [1, 1, 2, 2], "label": "face"}],
        "place": {"longitude": 13.4, "latitude": 52.5},
        "labels": {"region": "n"},
        "head": FILE[:8].hex(),
    }


def test_images_that_do_not_fit_into_a_line_are_listed_in_a_file_alone(perform: Perform) -> None:
    name = "north/" + "x" * 200 + "{}.png"
    count = MAX_LINE_BYTES // 350
    found = json.loads(perform(count, "png", name=name)[0].data)
    assert (found["in"], len(found["images"])) == (0, count)
    assert found["images"][-1]["name"] == name.format(count - 1)


def test_a_program_that_accepts_pixels_alone_gets_these(perform: Perform) -> None:
    [image] = perform(2, pixels=True)
    assert np.array_equal(image.pixels, PIXELS)


def test_a_program_refuses_a_group(perform: Perform) -> None:
    with pytest.raises(ImageError) as caught:
        perform(2, refuse=True)
    assert (caught.value.code, caught.value.message) == (ImageCode.PARAMETER_NOT_APPLICABLE, "not these")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "own returned NoneType; accepted are"),
        ([PIXELS, "x"], "own returned str; accepted are"),
        (np.zeros((4, 4, 4), np.uint8), "own returned uint8 (4, 4, 4); accepted is H×W×3 uint8"),
        ([], "own made 0 parts"),
        ({}, "own made 0 parts"),
        ({"a.json": "text"}, "own returned str"),
        ({"../a.json": b""}, "own made a file '../a.json'; accepted are names of"),
        ({".hidden.json": b""}, "own made a file '.hidden.json'"),
        ({"README": b""}, "own made a file 'README'"),
        ({"a.json": b"", "A.json": b""}, "own made two files whose names differ in upper and lower case alone"),
        ({"a.json": bytes(11)}, "own made a file of 11 bytes; accepted are up to 10"),
        ([PIXELS] * 5, "own made 120 pixels; accepted are up to 100"),
        ({f"{number}.txt": b"" for number in range(7)}, "own made 7 parts; accepted are 1 to 6"),
    ],
)
def test_what_is_no_result_is_refused(made: Any, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        collect_results("own", made, Limits(max_pixels=100, max_file_bytes=10, max_parts=6))
    assert caught.value.message.startswith(said)


def test_images_are_taken_no_further_than_the_limits() -> None:
    taken: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(len(taken))
            yield PIXELS

    with pytest.raises(ImageError, match="own made 240 pixels"):
        collect_results("own", endless(), Limits(max_pixels=239))
    assert len(taken) == 10


def test_images_that_the_memory_has_no_room_for_are_refused_before_more_are_made() -> None:
    memory = WorkerMemory(1000, PIXELS.nbytes * 3)
    images = iter([PIXELS] * 10)
    with pytest.raises(ImageError, match="own needs at least 1 MB of memory"):
        collect_results("own", images, Limits(), memory)
    assert len([*images]) == 6


def test_a_step_finds_regions_in_what_it_makes() -> None:
    [image] = collect_results("own", StepOutput(PIXELS, regions=[REGION]), Limits())
    assert image.regions == (REGION,)  # type: ignore[union-attr]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Sends a request about a group to a server, of files below `tmp_path`."""
    (tmp_path / "out").mkdir()
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(FILE)

    def send(**fields: Any) -> dict[str, Any]:
        server = StdioServer(["contact-sheet"], Limits(), tmp_path)
        request = {"v": 1, "op": "contact-sheet", "params": {"columns": 2}, "out": str(tmp_path / "out"), **fields}
        return json.loads(server.answer(json.dumps(request).encode()))

    return send


def listed(folder: Path, *, file: bool) -> list[dict[str, Any]]:
    names = [f"{number}.png" for number in range(3)]
    return [{"name": name, "width": 6, "height": 4, **({"file": str(folder / name)} if file else {})} for name in names]


def test_a_server_runs_a_group_step_on_what_a_line_or_a_file_lists(ask: Any, tmp_path: Path) -> None:
    in_line = ask(
        **{"in": [str(tmp_path / f"{number}.png") for number in range(3)]}, images=listed(tmp_path, file=False)
    )
    sheet = Path(in_line["out"][0]).read_bytes()
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(each) + "\n" for each in listed(tmp_path, file=True)))
    in_file = ask(listing=str(tmp_path / "list.jsonl"))
    assert in_line["ok"]
    assert in_line["out"] == in_file["out"] == [str(tmp_path / "out" / "0.safetensors")]
    assert Path(in_file["out"][0]).read_bytes() == sheet


def test_a_server_describes_a_group_step(tmp_path: Path) -> None:
    assert StdioServer(["contact-sheet"], Limits(), None).describe().group
    assert not StdioServer(["resize", "contact-sheet"], Limits(), None).describe().group


def test_a_server_refuses_a_list_that_does_not_fit_and_files_outside(ask: Any, tmp_path: Path) -> None:
    error = ask(**{"in": [str(tmp_path / "0.png")]})["error"]
    assert error["message"] == "images: 0 for 1 files; accepted is one for each"
    (tmp_path / "list.jsonl").write_text("{}\n")
    assert ask(listing=str(tmp_path / "list.jsonl"))["error"]["code"] == "bad_request"
    assert ask(listing="/etc/hostname")["error"]["code"] == "source_forbidden"
    outside = {"name": "x", "width": 1, "height": 1, "file": "/etc/hostname"}
    (tmp_path / "list.jsonl").write_text(json.dumps(outside) + "\n")
    assert ask(listing=str(tmp_path / "list.jsonl"))["error"]["code"] == "source_forbidden"

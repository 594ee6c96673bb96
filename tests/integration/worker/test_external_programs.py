"""External programs as steps of `penstock run` and of workers (`PENSTOCK_PROGRAM`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from example_steps import (
    FINDER,
    FINDER_SCHEMA,
    GATHERING,
    KINDS,
    ODD,
    POSTERIZE,
    compile_invert,
    draw_marked,
    paint,
    perl_command,
    posterize,
    regions_in,
)
from run_folders import Run, codes, draw, names
from waiting import wait_until
from worker_fixture import PLUGINS

from penstock.benchmark.http import RefusedError
from penstock.common.model.operations import BUILT_IN


def declare(**schemas: Any) -> str:
    return json.dumps({name: {"params": schema} for name, schema in schemas.items()})


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, str]:
    """Settings of a program that does what its image says, and records it in `log`."""
    command = [sys.executable, str(ODD), str(tmp_path / "log")]
    return {"PENSTOCK_PROGRAM": json.dumps(command), "PENSTOCK_DECLARED_STEPS": declare(odd={})}


def test_a_program_in_perl_runs_a_declared_step_among_built_in_ones(penstock: Run, tmp_path: Path) -> None:
    command = perl_command()
    if command is None:
        pytest.skip("no Perl")
    source = draw(tmp_path / "in" / "x.png", width=64, height=48)
    settings = {"PENSTOCK_PROGRAM": json.dumps(command), "PENSTOCK_DECLARED_STEPS": declare(posterize=POSTERIZE)}
    ops = ["--op", "resize=32x24", "--op", "split", "--op", "posterize=3", "--output", "png"]
    done = penstock("run", source, *ops, "--parallel", 1, "--out", tmp_path / "o", **settings)
    assert done.returncode == 0, done.stderr
    small = cv2.resize(cv2.imread(str(source)), (32, 24), interpolation=cv2.INTER_AREA)
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x-3.png")), posterize(small[12:, 16:], 3))


def test_a_program_in_c_can_be_the_first_step_because_penstock_decodes(penstock: Run, tmp_path: Path) -> None:
    program = compile_invert(tmp_path)
    if program is None:
        pytest.skip("no C compiler")
    source = draw(tmp_path / "in" / "x.jpg")
    settings = {"PENSTOCK_PROGRAM": json.dumps([str(program)]), "PENSTOCK_DECLARED_STEPS": declare(invert={})}
    options = ["--op", "invert", "--output", "png", "--out", tmp_path / "o", "--parallel", 1]
    done = penstock("run", source, *options, **settings)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x.png")), 255 - cv2.imread(str(source)))


@pytest.mark.parametrize("accepted", [[], ["png"]], ids=["pixels", "files"])
def test_a_program_runs_a_group_step(penstock: Run, tmp_path: Path, accepted: list[str]) -> None:
    for name, value in (("north/a.png", 50), ("north/b.png", 90), ("south/c.png", 120)):
        draw(tmp_path / "in" / name, value)
    settings = {
        "PENSTOCK_PROGRAM": json.dumps([sys.executable, str(GATHERING), *accepted]),
        "PENSTOCK_DECLARED_STEPS": '{"gathering": {"group": true}}',
    }
    gather = {"by": "folder", "step": "gathering"}
    options = ["--output", "png", "--out", tmp_path / "o", "--parallel", 1]
    done = penstock("run", tmp_path / "in", "--op", f"gather={json.dumps(gather)}", *options, **settings)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "o" / "north" / "gathering" / "poses.json").read_text())
    assert [each["name"] for each in found["images"]] == ["north/a.png", "north/b.png"]
    assert found["images"][0]["head"].startswith("89504e47") is bool(accepted)
    pixels = gather | {"params": {"pixels": True}}
    again = ["--op", f"gather={json.dumps(pixels)}", "--output", "png", "--out", tmp_path / "p", "--parallel", 1]
    if not accepted:
        assert penstock("run", tmp_path / "in", *again, **settings).returncode == 0
        made, source = (cv2.imread(str(tmp_path / name)) for name in ("p/south/gathering.png", "in/south/c.png"))
        assert np.array_equal(made, source)


def test_a_misbehaving_program_fails_only_the_current_image(penstock: Run, tmp_path: Path, odd: dict[str, str]) -> None:
    for number in range(6):
        paint(tmp_path / "in" / f"good-{number}.png")
    for kind in KINDS:
        paint(tmp_path / "in" / f"good-2-{kind}.png", kind)
    done = penstock("run", tmp_path / "in", "--op", "odd", "--parallel", 1, "--out", tmp_path / "o", **odd)
    assert done.returncode == 1
    assert names(tmp_path / "o") == {f"good-{number}.jpg" for number in range(6)}
    failed = {name.removeprefix("good-2-").removesuffix(".png"): code for name, code in codes(tmp_path / "o").items()}
    assert failed == KINDS
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [kind for _, kind in lines].count("crash") == 2, "as often as an image may be attempted"
    assert [kind for _, kind in lines].count("hang") == 1
    assert len({pid for pid, _ in lines}) == 6, "one process, and another after each of five ends"


def test_a_program_exits_with_its_worker(penstock: Run, tmp_path: Path, odd: dict[str, str]) -> None:
    paint(tmp_path / "in" / "good.png")
    penstock("run", tmp_path / "in", "--op", "odd", "--parallel", 2, "--out", tmp_path / "o", **odd)
    pid = (tmp_path / "log").read_text().split()[0]
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ('["/nowhere/at/all"]', "/nowhere/at/all cannot be run: No such file"),
        ('["sh", "-c", "echo I am broken >&2; exit 3"]', "ended with status 3; it wrote: I am broken"),
        ('["sh", "-c", "echo hello; cat"]', "does not describe itself"),
        ("[]", "odd is declared, but PENSTOCK_PROGRAM names no program that runs it"),
    ],
)
def test_a_program_that_cannot_start_is_reported(penstock: Run, tmp_path: Path, program: str, message: str) -> None:
    paint(tmp_path / "in" / "good.png")
    settings = {"PENSTOCK_PROGRAM": program, "PENSTOCK_DECLARED_STEPS": declare(odd={})}
    done = penstock("run", tmp_path / "in", "--op", "odd", "--parallel", 1, "--out", tmp_path / "o", **settings)
    assert done.returncode in (2, 3)
    assert message in done.stderr


def test_serve_refuses_a_declared_step_without_a_program(penstock: Run, tmp_path: Path) -> None:
    done = penstock("serve", "--data", tmp_path / "data", PENSTOCK_DECLARED_STEPS=declare(odd={}))
    assert done.returncode == 2
    assert "PENSTOCK_DECLARED_STEPS: odd: no worker here can run it; set PENSTOCK_PROGRAM" in done.stderr


def test_serve_refuses_jobs_with_a_disabled_step(start_server: Callable[..., Any], tmp_path: Path) -> None:
    server = start_server("--workers", "1", "--placement", "per_step", PENSTOCK_DISABLED_STEPS="split,blur,crop,rotate")
    shown = {step["name"] for step in server.call("GET", "/v1/steps")["steps"]}
    assert shown & BUILT_IN.keys() == {"resize", "tile", "adjust", "contact-sheet", "encode"}
    source = str(draw(tmp_path / "in" / "x.png", width=64, height=48))
    with pytest.raises(RefusedError, match=r"steps\.crop\.enabled=true"):
        server.client.post_job({"operations": [["crop", "1:1"]], "inputs": [source]})
    job = server.client.post_job({"operations": [["tile", "2x2"]], "inputs": [source]})["id"]
    assert server.client.wait(job, poll_secs=0.05)["state"] == "succeeded"


@pytest.mark.parametrize("broker", ["memory", "rabbitmq"])
def test_jobs_use_a_declared_step_like_any_other(
    start_server: Callable[..., Any], tmp_path: Path, broker: str, request: pytest.FixtureRequest
) -> None:
    command = perl_command()
    if command is None:
        pytest.skip("no Perl")
    options = ["--workers", "1", "--placement", "per_step"]
    if broker == "rabbitmq":
        options = ["--workers", "1", "--broker", request.getfixturevalue("rabbitmq").url]
    settings = {"PENSTOCK_PROGRAM": json.dumps(command), "PENSTOCK_DECLARED_STEPS": declare(posterize=POSTERIZE)}
    server = start_server(*options, **settings)
    listed = {each["name"]: each for each in server.call("GET", "/v1/operations")["operations"]}
    assert listed["posterize"]["parameters"] == POSTERIZE
    assert listed["posterize"]["example"]["long"] == {"op": "posterize", "levels": 4}
    source = draw(tmp_path / "in" / "x.png", width=64, height=48)
    chain = [["posterize", 3], ["resize", "32x24"]]
    job = server.client.post_job({"operations": chain, "output": "png", "inputs": [str(source)]})["id"]
    assert server.client.wait(job, poll_secs=0.05)["state"] == "succeeded"
    (result,) = server.client.results(job)
    made = cv2.imdecode(np.frombuffer(server.client.fetch(result["url"]), np.uint8), cv2.IMREAD_COLOR)
    expected = cv2.resize(posterize(cv2.imread(str(source)), 3), (32, 24), interpolation=cv2.INTER_AREA)
    assert np.array_equal(made, expected)
    with pytest.raises(RefusedError, match="levels: 1 is less than the minimum of 2"):
        server.client.post_job({"operations": [["posterize", 1]], "inputs": [str(source)]})


def test_a_program_gets_regions_and_adds_those_that_it_finds(penstock: Run, tmp_path: Path) -> None:
    source = draw_marked(tmp_path / "in")
    settings = {"PENSTOCK_PROGRAM": json.dumps([sys.executable, str(FINDER)])}
    settings["PENSTOCK_DECLARED_STEPS"] = declare(find=FINDER_SCHEMA)
    chain = ["--op", "find", "--op", "split", "--op", "find", "--parallel", 1, "--out", tmp_path / "o"]
    done = penstock("run", source, *chain, **settings)
    assert done.returncode == 0, done.stdout
    first, second, third, fourth = regions_in(tmp_path / "o" / "manifest.ndjson")
    assert first == [
        {"box": [8.0, 6.0, 12.0, 9.0], "label": "face"},
        {"box": [0.0, 0.0, 4.0, 4.0], "label": "found after 1"},
        {"box": [0.0, 0.0, 4.0, 4.0], "label": "found after 2"},
    ]
    assert second == [
        {"box": [0.0, 6.0, 4.0, 9.0], "label": "face"},
        {"box": [0.0, 0.0, 4.0, 4.0], "label": "found after 1"},
    ]
    assert [region["label"] for region in third + fourth] == ["face", "found after 1"] * 2
    assert b"Cam" in (tmp_path / "o" / "x-0.jpg").read_bytes()[:300], "the file's metadata, which it did not get"


def test_a_program_that_changes_the_size_says_where_regions_are(penstock: Run, tmp_path: Path) -> None:
    source = draw_marked(tmp_path / "in")
    settings = {"PENSTOCK_PROGRAM": json.dumps([sys.executable, str(FINDER)])}
    settings["PENSTOCK_DECLARED_STEPS"] = declare(find=FINDER_SCHEMA)
    done = penstock("run", source, "--op", "find=2", "--parallel", 1, "--out", tmp_path / "o", **settings)
    assert done.returncode == 0, done.stdout
    [found] = regions_in(tmp_path / "o" / "manifest.ndjson")
    assert found == [
        {"box": [0.0, 0.0, 4.0, 4.0], "label": "found after 1"},
        {"box": [4.0, 3.0, 8.0, 6.0], "label": "face"},
    ]
    assert "regions_dropped" not in (tmp_path / "o" / "manifest.ndjson").read_text()


def test_penstock_as_the_program_keeps_everything_of_an_image(penstock: Run, tmp_path: Path) -> None:
    """A custom step in another environment: its files carry metadata and regions themselves."""
    source = draw_marked(tmp_path / "in")
    command = [sys.executable, "-m", "penstock", "stdio", "--steps", "twins"]
    settings = {"PENSTOCK_PROGRAM": json.dumps(["env", f"PYTHONPATH={PLUGINS}", *command])}
    settings["PENSTOCK_DECLARED_STEPS"] = declare(twins={})
    done = penstock("run", source, "--op", "twins", "--parallel", 1, "--out", tmp_path / "o", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    face = {"box": [8.0, 6.0, 16.0, 12.0], "label": "face"}
    assert regions_in(tmp_path / "o" / "manifest.ndjson") == [[face], [face]]
    assert b"Cam" in (tmp_path / "o" / "x-1.jpg").read_bytes()[:300]

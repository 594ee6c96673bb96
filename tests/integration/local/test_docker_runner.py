"""`penstock run --runner docker`: the same results with a container per step, also if containers fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from example_steps import (
    EXAMPLES,
    FINDER,
    FINDER_SCHEMA,
    GATHERING,
    KINDS,
    ODD,
    compile_invert,
    draw_marked,
    paint,
    posterize,
    regions_in,
)
from run_folders import Run, codes, digests, draw, leftovers, names, written
from waiting import wait_until

from penstock import __version__
from penstock.local.sample_images import write_images

IMAGES = os.environ.get("PENSTOCK_TEST_IMAGES", "local")
CHAIN = ["--op", "resize=120x90", "--op", "split", "--op", "blur=median", "--output", "png"]


def docker(*arguments: object) -> str:
    done = subprocess.run(["docker", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def has_image(name: str) -> bool:
    try:
        return subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _images(without_service: Callable[[str], NoReturn]) -> None:
    if not has_image(f"{IMAGES}/penstock-encode:{__version__}"):
        without_service("there is no Docker, or not the steps' images (make images)")


def build_program(name: str, program: Path, folders: pytest.TempPathFactory, *arguments: str) -> Iterator[str]:
    """Build the image of a step that is a Python program."""
    folder = folders.mktemp(name)
    shutil.copy(program, folder)
    entry = json.dumps(["python3", f"/{program.name}", *arguments])
    (folder / "Dockerfile").write_text(
        f"FROM {IMAGES}/penstock-step:{__version__}\nCOPY {program.name} /{program.name}\nENTRYPOINT {entry}\n"
    )
    yield from build(f"penstock-test-{name}", folder)


@pytest.fixture(scope="module")
def odd_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of the odd step, which misbehaves on request."""
    yield from build_program("odd", ODD, tmp_path_factory, "/tmp/said")


@pytest.fixture(scope="module")
def finder_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of the step that finds corners."""
    yield from build_program("finder", FINDER, tmp_path_factory)


@pytest.fixture(scope="module")
def gathering_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of a group step, which reads PNG files."""
    yield from build_program("gathering", GATHERING, tmp_path_factory, "png")


@pytest.fixture(scope="module")
def faces_image() -> Iterator[str]:
    """An image of the example that finds faces."""
    step = f"STEP={IMAGES}/penstock-step:{__version__}"
    yield from build("penstock-test-faces", EXAMPLES / "anonymize", "--build-arg", step)


@pytest.fixture(scope="module")
def posterize_image() -> Iterator[str]:
    """An image of the example in Perl."""
    step = f"STEP={IMAGES}/penstock-step:{__version__}"
    yield from build("penstock-test-posterize", EXAMPLES / "posterize", "--build-arg", step)


@pytest.fixture(scope="module")
def invert_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of the example in C, compiled on this host, so that no compiler image is needed."""
    folder = tmp_path_factory.mktemp("invert")
    if compile_invert(folder, "-static") is None:
        pytest.skip("no C compiler")
    lines = (EXAMPLES / "invert" / "Dockerfile").read_text().partition("FROM scratch")[2]
    (folder / "Dockerfile").write_text("FROM scratch" + lines.replace("--from=build /invert", "invert"))
    yield from build("penstock-test-invert", folder)


def build(name: str, folder: Path, *options: str) -> Iterator[str]:
    docker("build", "--quiet", "--network=host", "--tag", name, *options, folder)
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The usual environment with longer time limits."""
    return environment | {"PENSTOCK_IMAGES": IMAGES, "PENSTOCK_STEP_TIMEOUT_SECS": "60"}


@pytest.fixture
def run(penstock: Run, tmp_path: Path) -> Iterator[Run]:
    """Runs over containers into `tmp_path/out`, and checks that none remain."""

    def run_over_containers(*arguments: object, **more: str) -> Any:
        return penstock("run", "--runner", "docker", "--out", tmp_path / "out", *arguments, **more)

    yield run_over_containers
    assert containers(tmp_path / "out") == []


def containers(out: Path) -> list[str]:
    label = f"label=penstock.folder={socket.gethostname()}:{out}"
    return docker("ps", "--all", "--quiet", "--filter", label).split()


def entries(folder: Path) -> list[str]:
    """Return the sorted lines of the manifest, without the times of results."""
    lines = (folder / "manifest.ndjson").read_text().splitlines()
    return sorted(re.sub(r', "mtime_ns": \d+', "", line) for line in lines)


@pytest.mark.parametrize("chain", [CHAIN, ["--output", "png"], ["--op", "blur=bilateral", "--op", "resize=50x50"]])
def test_containers_give_the_same_results_manifest_and_exit_code_as_processes(
    run: Run, penstock: Run, tmp_path: Path, drawn: list[Path], chain: list[str]
) -> None:
    for path in drawn[:4]:
        shutil.copy(path, tmp_path)
    (tmp_path / "cut.jpg").write_bytes(drawn[0].read_bytes()[:-500])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "bomb.png").write_bytes(cv2.imencode(".png", np.zeros((400, 400, 3), np.uint8))[1].tobytes())
    inputs = [*sorted(tmp_path.glob("*.jpg")), *sorted(tmp_path.glob("*.png"))]
    by_docker = run(*inputs, *chain, "--parallel", 2, PENSTOCK_MAX_PIXELS="100000")
    by_process = penstock("run", *inputs, *chain, "--out", tmp_path / "other", PENSTOCK_MAX_PIXELS="100000")
    assert (by_docker.returncode, by_process.returncode) == (1, 1), by_docker.stderr
    assert len(names(tmp_path / "out")) >= 4
    assert digests(tmp_path / "out") == digests(tmp_path / "other")
    assert entries(tmp_path / "out") == entries(tmp_path / "other")
    assert codes(tmp_path / "out").keys() == {"cut.jpg", "empty.png", "bomb.png"}
    assert leftovers(tmp_path / "out") == set()


def test_containers_make_the_same_outputs_of_each_image_as_processes(
    run: Run, penstock: Run, tmp_path: Path, drawn: list[Path]
) -> None:
    inputs = [*(shutil.copy(path, tmp_path) for path in drawn[:3]), tmp_path / "cut.jpg"]
    (tmp_path / "cut.jpg").write_bytes(drawn[0].read_bytes()[:-500])
    outputs = [
        {"name": "thumb", "operations": [["resize", "32x"]], "output": "webp"},
        {"name": "quarters", "operations": [["split"], ["blur", "median"]], "output": "png"},
        {"name": "whole"},
    ]
    for shared in ([["resize", "150x101"]], []):
        job = tmp_path / "job.json"
        job.write_text(json.dumps({"operations": shared, "outputs": outputs}))
        by_docker = run(*inputs, "--job", job, "--parallel", 2, "--force")
        by_process = penstock("run", *inputs, "--job", job, "--out", tmp_path / "other", "--force")
        assert (by_docker.returncode, by_process.returncode) == (1, 1), by_docker.stderr
        assert len(files(tmp_path / "out")) == 3 * (1 + 4 + 1)
        assert files(tmp_path / "out") == files(tmp_path / "other")
        assert entries(tmp_path / "out") == entries(tmp_path / "other")


def files(folder: Path) -> dict[str, bytes]:
    """Return the results below a folder by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*") if path.is_file()}


def test_containers_give_the_same_bytes_of_photographs_as_processes(
    run: Run, penstock: Run, tmp_path: Path, photographs: Path
) -> None:
    inputs = [*sorted((photographs / "street").glob("*.jpg"))[:5], *sorted((photographs / "kodak").glob("*.png"))[:2]]
    inputs += sorted((photographs / "orientation").glob("*.jpg"))[4:7]
    done = run(*inputs, "--op", "resize=512x512", "--op", "blur=gaussian")
    assert done.returncode == 0, done.stderr
    penstock("run", *inputs, "--op", "resize=512x512", "--op", "blur=gaussian", "--out", tmp_path / "other")
    assert digests(tmp_path / "out") == digests(tmp_path / "other")


def test_groups_in_containers_give_the_same_results_as_in_processes(
    run: Run, penstock: Run, tmp_path: Path, drawn: list[Path]
) -> None:
    for number, path in enumerate(drawn[:4]):
        (tmp_path / "in" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "in" / "ab"[number % 2])
    chain = ["--op", "split", "--op", "gather=folder:contact-sheet", "--output", "png"]
    done = run(tmp_path / "in", *chain)
    assert done.returncode == 0, done.stderr
    penstock("run", tmp_path / "in", *chain, "--out", tmp_path / "other")
    assert {"a/contact-sheet.png", "b/contact-sheet.png"} < names(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "other")


def test_a_group_step_of_a_program_runs_in_a_container(run: Run, tmp_path: Path, gathering_image: str) -> None:
    for number in range(3):
        draw(tmp_path / "in" / f"{number}.png", 60 + number)
    image = ["--image", f"gathering={gathering_image}", "--output", "png"]
    done = run(tmp_path / "in", *image, "--op", "gather=job:gathering")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "gathering" / "poses.json").read_text())
    assert [each["name"] for each in found["images"]] == ["0.png", "1.png", "2.png"]
    assert {each["head"] for each in found["images"]} == {"89504e470d0a1a0a"}


def test_steps_in_other_languages_run_in_containers(
    run: Run, tmp_path: Path, drawn: list[Path], invert_image: str, posterize_image: str
) -> None:
    """The first step accepts no JPEG, so another container decodes."""
    images = ["--image", f"invert={invert_image}", "--image", f"posterize={posterize_image}"]
    chain = ["--op", "invert", "--op", "resize=40x30", "--op", "posterize=3", "--output", "png"]
    done = run(drawn[0], *images, *chain, "--parallel", 1)
    assert done.returncode == 0, done.stderr
    small = cv2.resize(255 - cv2.imread(str(drawn[0])), (40, 30), interpolation=cv2.INTER_AREA)
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "photo-0000.png")), posterize(small, 3))
    refused = run(drawn[0], *images, "--op", "posterize=1", "--force")
    assert refused.returncode == 2
    assert "posterize: levels: 1 is less than the minimum of 2" in refused.stderr


def test_a_misbehaving_container_fails_only_the_current_image(run: Run, tmp_path: Path, odd_image: str) -> None:
    for number in range(4):
        paint(tmp_path / "in" / f"good-{number}.png")
    for kind in KINDS:
        paint(tmp_path / "in" / f"good-2-{kind}.png", kind)
    options = ["--op", "odd", "--image", f"odd={odd_image}", "--parallel", 1]
    done = run(tmp_path / "in", *options, PENSTOCK_STEP_TIMEOUT_SECS="5")
    assert done.returncode == 1, done.stderr
    assert names(tmp_path / "out") == {f"good-{number}.jpg" for number in range(4)}
    failed = {name.removeprefix("good-2-").removesuffix(".png"): code for name, code in codes(tmp_path / "out").items()}
    assert failed == KINDS


def test_killed_containers_lose_no_image_and_containers_are_confined(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    inputs = write_images(tmp_path / "in", 60, 640, 480)
    process = start("run", "--runner", "docker", *inputs, *CHAIN, "--parallel", 2, "--out", tmp_path / "out")
    wait_until(lambda: len(names(tmp_path / "out")) > 8, 60)
    found = containers(tmp_path / "out")
    looked_at = json.loads(docker("inspect", *found))
    docker("kill", *found)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "60 done, 0 failed" in output
    assert len(names(tmp_path / "out")) == 240
    assert len(looked_at) == 8
    for container in looked_at:
        host = container["HostConfig"]
        assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["Memory"] == 4 << 30
        assert host["PidsLimit"] == 256
        assert container["Config"]["User"] == f"{os.getuid()}:{os.getgid()}"
        assert [mount["Destination"] for mount in container["Mounts"]] == ["/data"]


def test_an_interrupted_run_keeps_results_and_continues_later(
    start: Callable[..., subprocess.Popen[str]], run: Run, tmp_path: Path
) -> None:
    inputs = write_images(tmp_path / "in", 60, 640, 480)
    process = start("run", "--runner", "docker", *inputs, *CHAIN, "--parallel", 2, "--out", tmp_path / "out")
    wait_until(lambda: len(names(tmp_path / "out")) > 8, 60)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: " in output
    assert containers(tmp_path / "out") == []
    before = written(tmp_path / "out")
    assert 8 < len(before) < 240
    done = run(*inputs, *CHAIN)
    assert done.returncode == 0, done.stderr
    assert f"{len(before) // 4} done before" in done.stdout
    assert {name: time for name, time in written(tmp_path / "out").items() if name in before} == before


def test_containers_of_a_killed_run_are_removed_by_the_next(
    start: Callable[..., subprocess.Popen[str]], run: Run, tmp_path: Path, odd_image: str
) -> None:
    paint(tmp_path / "in" / "hang.png", "hang")
    options = ["--op", "odd", "--image", f"odd={odd_image}", "--parallel", 1]
    process = start("run", "--runner", "docker", tmp_path / "in", *options, "--out", tmp_path / "out")
    wait_until(lambda: any("hang" in said_in(container) for container in containers(tmp_path / "out")), 60)
    process.kill()
    process.wait(30)
    paint(tmp_path / "in" / "hang.png")
    wait_until(lambda: len(containers(tmp_path / "out")) == 1, 30)
    assert run(tmp_path / "in", *options).returncode == 0


def said_in(container: str) -> str:
    """Return the notes of the odd step."""
    done = subprocess.run(["docker", "exec", container, "cat", "/tmp/said"], capture_output=True, check=False)
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("options", "more", "status", "said"),
    [
        ([], {"PATH": "/nowhere"}, 3, "no docker on this host"),
        ([], {"DOCKER_HOST": "unix:///nowhere/docker.sock"}, 3, "the Docker daemon does not answer"),
        (
            ["--image", "split=localhost:1/none:1"],
            {},
            3,
            "image localhost:1/none:1 is not on this host and cannot be pulled",
        ),
        (["--image", "split={odd}"], {}, 3, "this image runs odd, not split"),
        (["--image", "split"], {}, 2, "--image split: accepted is STEP=IMAGE"),
        (["--op", "sharpen"], {}, 2, "no operation 'sharpen'"),
    ],
)
def test_missing_requirements_are_reported_in_one_line(
    run: Run, tmp_path: Path, drawn: list[Path], odd_image: str, options: list[str], more: dict[str, str], status: int,
    said: str,
) -> None:  # fmt: skip
    given = [option.replace("{odd}", odd_image) for option in options]
    done = run(drawn[0], "--op", "split", *given, **more)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("penstock: ")]) == 1


def test_containers_pass_on_regions_and_metadata(
    run: Run, penstock: Run, tmp_path: Path, finder_image: str, photographs: Path
) -> None:
    """The finder gets pixels alone, the others what belongs to them as well."""
    source = draw_marked(tmp_path / "in")
    chain = ["--op", "resize=20x15", "--op", "find", "--op", "split", "--op", "find", "--op", "blur=median"]
    for ops in (chain, chain[2:]):
        done = run(source, "--image", f"find={finder_image}", *ops, "--parallel", 1, "--force")
        assert done.returncode == 0, done.stdout + done.stderr
        settings = {"PENSTOCK_PROGRAM": json.dumps([sys.executable, str(FINDER)])}
        settings["PENSTOCK_DECLARED_STEPS"] = json.dumps({"find": {"params": FINDER_SCHEMA}})
        penstock("run", source, *ops, "--parallel", 1, "--force", "--out", tmp_path / "other", **settings)
        assert entries(tmp_path / "out")[0] == entries(tmp_path / "other")[0]
        assert [region["label"] for region in regions_in(tmp_path / "out" / "manifest.ndjson")[0]] == [
            "face",
            "found after 1",
            "found after 2",
        ]


def test_the_example_hides_a_face_and_nothing_else(run: Run, tmp_path: Path, faces_image: str) -> None:
    source = EXAMPLES / "anonymize" / "before.jpg"
    hidden = ["--op", "faces", "--op", "blur=pixelate,where=regions", "--output", "png"]
    done = run(source, "--image", f"faces={faces_image}", *hidden, "--parallel", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    [[face]] = regions_in(tmp_path / "out" / "manifest.ndjson")
    left, top, width, height = map(int, face["box"])
    assert (face["label"], face["score"] > 0.8) == ("face", True)
    assert left <= 115 < 185 <= left + width, "the face in the picture"
    assert top <= 55 < 145 <= top + height
    before, after = cv2.imread(str(source)), cv2.imread(str(tmp_path / "out" / "before.png"))
    inside = after[top : top + height, left : left + width].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) <= 16, "means of up to 4×4 areas"
    soft = 1 + round(0.1 * min(width, height))
    changed = np.argwhere((before != after).any(axis=2))
    (first_row, first_column), (last_row, last_column) = changed.min(axis=0), changed.max(axis=0)
    assert top - soft <= first_row < last_row < top + height + soft
    assert left - soft <= first_column < last_column < left + width + soft

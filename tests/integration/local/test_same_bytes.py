"""Placement, chunk size and number of workers do not change the bytes of results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from penstock.local.sample_images import write_images

OPERATIONS = [["resize", "150x101"], ["split", True], ["blur", "updownsampling"], ["split", True], ["blur", "median"]]
OPS = ["--op", "resize=150x101", "--op", "split", "--op", "blur=updownsampling", "--op", "split", "--op", "blur=median"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder, 20, 320, 240)
    return folder


def by_hand(photo: Path) -> list[bytes]:
    """Return the results of OpenCV, called directly, as JPEG files."""
    parts = [cv2.resize(cv2.imread(str(photo)), (150, 101), interpolation=cv2.INTER_AREA)]
    for blur in (lambda part: cv2.pyrUp(cv2.pyrDown(part), dstsize=part.shape[1::-1]), lambda p: cv2.medianBlur(p, 5)):
        quadrants = []
        for part in parts:
            y, x = part.shape[0] // 2, part.shape[1] // 2
            quadrants += [part[:y, :x], part[:y, x:], part[y:, :x], part[y:, x:]]
        parts = [blur(quadrant) for quadrant in quadrants]
    return [cv2.imencode(".jpg", part)[1].tobytes() for part in parts]


@pytest.fixture(scope="module")
def expected(photos: Path) -> dict[str, str]:
    return {
        f"{photo.stem}-{index}.jpg": hashlib.sha256(data).hexdigest()
        for photo in photos.iterdir()
        for index, data in enumerate(by_hand(photo))
    }


@pytest.mark.parametrize("parallel", [1, 3])
def test_run_gives_the_bytes_of_opencv_with_any_number_of_workers(
    penstock: Callable[..., Any], photos: Path, expected: dict[str, str], tmp_path: Path, parallel: int
) -> None:
    ended = penstock("run", photos, *OPS, "--out", tmp_path / "out", "--parallel", parallel)
    assert ended.returncode == 0, ended.stderr
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").glob("*.jpg")}
    assert found == expected


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_serve_gives_the_bytes_of_opencv_with_any_placement_and_chunk_size(
    start_server: Callable[..., Any], photos: Path, expected: dict[str, str], placement: str
) -> None:
    server = start_server("--placement", placement, "--workers", "2", input_root=photos)
    jobs = [
        server.client.post_job({"operations": OPERATIONS, "inputs": [{"prefix": str(photos)}], "chunk_size": size})[
            "id"
        ]
        for size in (1, 3, 64, "auto")
    ]
    for job in jobs:
        assert server.client.wait(job, poll_secs=0.02)["state"] == "succeeded"
        assert server.manifest(job) == expected


def test_a_plan_too_long_for_a_message_gives_the_same_bytes(
    start_server: Callable[..., Any], photos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    """A plan of forty operations is stored instead of sent with each message."""
    server = start_server("--placement", "per_step", "--workers", "1", input_root=photos, PENSTOCK_MAX_OPERATIONS="64")
    same = [["resize", "150x101"]] * 40
    job = server.client.post_job({"operations": [*same, *OPERATIONS[1:]], "inputs": [{"prefix": str(photos)}]})["id"]
    assert server.client.wait(job, poll_secs=0.02)["state"] == "succeeded"
    assert list((tmp_path / "data" / "store" / "plans").iterdir())
    assert server.manifest(job) == expected

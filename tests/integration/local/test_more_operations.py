"""Crop, rotate, tile, adjust and hidden regions: `run` and `serve` give the same bytes, those of OpenCV."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.local.sample_images import write_images

OPS = ["crop=4:3:north", "rotate=-90,flip=vertical", "adjust=brightness=1.1,gamma=1.2", "tile=3x2,overlap=6"]
HIDE = "blur=pixelate,where=regions,labels=face"
FACE = {"box": [200, 60, 40, 50], "label": "face", "score": 0.9}
SIGN = {"box": [20, 150, 40, 50], "label": "sign"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for photo in write_images(folder, 4, 320, 280):
        (folder / f"{photo.name}.regions.json").write_text(json.dumps([FACE, SIGN]))
    return folder


def by_hand(photo: Path) -> list[np.ndarray]:
    """Return the parts that OpenCV makes, called directly."""
    image = cv2.imread(str(photo))[:240]
    turned = cv2.rotate(cv2.flip(image, 0), cv2.ROTATE_90_COUNTERCLOCKWISE)
    values = np.clip(1.1 * np.arange(256) / 255, 0, 1) ** (1 / 1.2)
    adjusted = cv2.LUT(turned, np.floor(values * 255 + 0.5).astype(np.uint8))
    columns, rows = [(0, 83), (77, 163), (157, 240)], [(0, 163), (157, 320)]
    return [adjusted[top:bottom, left:right] for top, bottom in rows for left, right in columns]


@pytest.fixture(scope="module")
def expected(photos: Path) -> dict[str, str]:
    return {
        f"{photo.stem}-{index}.jpg": hashlib.sha256(cv2.imencode(".jpg", part)[1].tobytes()).hexdigest()
        for photo in photos.glob("*.jpg")
        for index, part in enumerate(by_hand(photo))
    }


def test_run_gives_the_bytes_of_opencv(
    penstock: Callable[..., Any], photos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    options = [word for op in OPS for word in ("--op", op)]
    ended = penstock("run", photos, *options, "--out", tmp_path / "out", "--parallel", 2)
    assert ended.returncode == 0, ended.stderr
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").glob("*.jpg")}
    assert found == expected


def test_serve_gives_the_bytes_of_opencv_and_run_hides_the_same_regions(
    start_server: Callable[..., Any],
    penstock: Callable[..., Any],
    photos: Path,
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    server = start_server("--placement", "per_step", "--workers", "1", input_root=photos)

    def submit(ops: list[str], **more: Any) -> dict[str, str]:
        operations = [op.split("=", 1) for op in ops]
        document = {"operations": operations, "inputs": [{"prefix": str(photos)}], **more}
        job = server.client.post_job(document)["id"]
        assert server.client.wait(job, poll_secs=0.02)["state"] == "succeeded"
        manifest: dict[str, str] = server.manifest(job)
        return manifest

    assert submit(OPS) == expected
    hidden = submit([HIDE, "crop=50%x50%:east"], output="png")
    options = ["--op", HIDE, "--op", "crop=50%x50%:east", "--output", "png", "--effort", "2"]
    ended = penstock("run", photos, *options, "--out", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    results = sorted((tmp_path / "out").glob("*.png"))
    assert hidden == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in results}
    for path in results:
        before = cv2.imread(str(photos / path.with_suffix(".jpg").name))[70:210, 160:]
        made = cv2.imread(str(path))
        assert made.shape == (140, 160, 3)
        assert len(np.unique(made[0:40, 40:80].reshape(-1, 3), axis=0)) <= 16
        assert np.array_equal(made[60:], before[60:])


def test_an_image_that_fails_after_some_results_leaves_none(
    start_server: Callable[..., Any], penstock: Callable[..., Any], tmp_path: Path
) -> None:
    """A WebP has at most 16,383 pixels per side: the upper tile fits, and the lower one doesn't."""
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "high.png"), np.zeros((32_767, 1, 3), np.uint8))
    options = ["--op", "tile=1x2", "--output", "webp", "--out", tmp_path / "out", "--json"]
    ended = penstock("run", tmp_path / "in", *options)
    assert ended.returncode == 1
    assert [failure["step"] for failure in json.loads(ended.stdout)["failures"]] == ["encode"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.ndjson"]

    server = start_server("--workers", "1")
    document = {"operations": [["tile", "1x2"]], "inputs": [{"prefix": str(tmp_path / "in")}], "output": "webp"}
    job = server.client.post_job(document)["id"]
    assert server.client.wait(job, poll_secs=0.02)["state"] == "failed"
    assert server.manifest(job) == {}
    assert not [path for path in (tmp_path / "data" / "store" / "results").rglob("*") if path.is_file()]

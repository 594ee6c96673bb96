"""`penstock run`: the colours of results, as a program that knows colour profiles shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from icc_profiles import (
    DISPLAY_P3,
    SRGB,
    colour_difference,
    rgb_profile,
    srgb_curve,
    to_display_p3,
    to_lab,
)
from PIL import Image
from run_folders import Run

P3_PROFILE = rgb_profile(DISPLAY_P3, srgb_curve())


def read(path: Path) -> tuple[np.ndarray, bytes]:
    """Return a file's BGR pixels and its colour profile, empty if it has none."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))[:, :, ::-1], image.info.get("icc_profile", b"")


@pytest.fixture
def phone_photograph(tmp_path: Path) -> Path:
    """A JPEG file with the profile Display P3, as phones write it: a sunset with a red sail."""
    y, x = np.mgrid[0:240, 0:320] / (240, 320)[0]
    sky = np.stack([90 + 130 * y, 60 + 150 * y, 255 - 80 * y], axis=2) * (0.7 + 0.2 * x[:, :, None])
    scene = np.clip(sky, 0, 255).astype(np.uint8)
    cv2.fillPoly(scene, [np.array([(100, 200), (170, 60), (200, 200)])], (40, 30, 220), cv2.LINE_AA)
    cv2.circle(scene, (250, 90), 30, (90, 220, 250), -1, cv2.LINE_AA)
    path = tmp_path / "in" / "photo.jpg"
    path.parent.mkdir()
    wide = to_display_p3(cv2.GaussianBlur(scene, (5, 5), 0))
    Image.fromarray(wide[:, :, ::-1]).save(path, quality=98, subsampling=0, icc_profile=P3_PROFILE)
    return path


@pytest.mark.parametrize("output", ["png", "jpg"])
@pytest.mark.parametrize("profile", ["keep", "srgb"])
def test_a_display_p3_photograph_and_its_result_show_the_same_colours(
    penstock: Run, tmp_path: Path, phone_photograph: Path, profile: str, output: str
) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"operations": [], "output": output, "profile": profile}))
    done = penstock("run", phone_photograph, "--job", job, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "o").glob(f"*.{output}")
    pixels, embedded = read(path)
    assert embedded == (P3_PROFILE if profile == "keep" else b"")
    source = to_lab(read(phone_photograph)[0], DISPLAY_P3)
    difference = colour_difference(to_lab(pixels, DISPLAY_P3 if embedded else SRGB), source)
    assert difference.mean() < 1
    assert np.quantile(difference, 0.9) < 2, "but at edges, where JPEG has fewer colours than pixels"
    assert colour_difference(to_lab(pixels, SRGB if embedded else DISPLAY_P3), source).mean() > 3


@pytest.fixture
def every_kind(tmp_path: Path, phone_photograph: Path) -> Path:
    """A folder with a photograph in Display P3, 16 bits, transparency, both together, and CMYK."""
    folder = phone_photograph.parent
    scene = read(phone_photograph)[0]
    deep = scene.astype(np.uint16) * 257
    alpha = np.tile(np.linspace(0, 255, scene.shape[1]).astype(np.uint8), (scene.shape[0], 1))
    cv2.imwrite(str(folder / "deep.png"), deep)
    cv2.imwrite(str(folder / "clear.png"), np.dstack([scene, alpha]))
    cv2.imwrite(str(folder / "both.png"), np.dstack([deep, alpha.astype(np.uint16) * 257]))
    Image.fromarray(255 - np.dstack([scene, alpha]), "CMYK").save(folder / "inks.jpg", quality=95)
    return folder


KINDS: list[tuple[dict[str, str], set[str]]] = [
    ({"output": "png", "alpha": "keep", "profile": "srgb"}, set()),
    ({"output": "png", "background": "#205080"}, set()),
    ({"output": "jpg"}, {"deep.jpg", "both.jpg"}),
]
"""Options of a job, and its results with warnings."""


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_run_and_serve_give_the_same_bytes_of_images_of_every_kind(
    penstock: Run, start_server: Callable[..., Any], tmp_path: Path, every_kind: Path, placement: str
) -> None:
    server = start_server("--placement", placement, "--workers", "1", input_root=every_kind)
    for number, (options, warned) in enumerate(KINDS):
        document = {"operations": [["resize", "100x80"], ["blur", "gaussian"]], **options}
        served = server.client.post_job({**document, "inputs": [{"prefix": str(every_kind)}]})["id"]
        job, out = tmp_path / "job.json", tmp_path / f"out-{number}"
        job.write_text(json.dumps(document))
        done = penstock("run", every_kind, "--job", job, "--out", out)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (out / "manifest.ndjson").read_text().splitlines()[1:]]
        results = [result for line in lines for result in line["results"]]
        assert {result["name"] for result in results if result.get("warnings")} == warned
        assert server.client.wait(served, poll_secs=0.02)["state"] == "succeeded"
        assert server.manifest(served) == {result["name"]: result["sha256"] for result in results}

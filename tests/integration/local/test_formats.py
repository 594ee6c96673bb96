"""`penstock run` with files of every type: read, or named by their bytes, each alone."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from run_folders import Run, draw

from penstock.common.image_header import read_header

LONG = {"PENSTOCK_STEP_TIMEOUT_SECS": "60", "PENSTOCK_STEP_WALL_SECS": "60"}
"""The first file of a format loads its library, which takes long on a busy host."""

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(256)) * 8


def mixed(folder: Path) -> Path:
    """Write a JPEG, a WebP, a TIFF, an AVIF, and HEIC under two names."""
    folder.mkdir()
    picture = Pillow.open(draw(folder / "one.JPG"))
    for name in ("w.webp", "t.tif", "a.avif"):
        picture.save(folder / name)
    (folder / "IMG_0042.jpg").write_bytes(HEIC)
    (folder / "IMG_0043.HEIC").write_bytes(HEIC)
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (folder / "manifest.ndjson").read_text().splitlines()[1:]]
    return {line["image"]: line for line in lines}


def test_each_type_is_read_or_named_and_fails_alone(penstock: Run, tmp_path: Path) -> None:
    given, out = mixed(tmp_path / "in"), tmp_path / "o"
    done = penstock("run", given, "--output", "png", "--out", out, **LONG, PENSTOCK_FORMATS="jpeg,png,webp,tiff,avif")
    assert done.returncode == 1
    expected = "the file is HEIC; accepted are JPEG, PNG, WebP, TIFF and AVIF (PENSTOCK_FORMATS)"
    assert f"IMG_0042.jpg: unsupported_type: {expected}" in done.stdout, "its suffix says that it is an image"
    assert read_manifest(out)["IMG_0042.jpg"]["error"]["message"] == expected
    assert "ignored: IMG_0043.HEIC is HEIC" in done.stdout
    assert sorted(path.name for path in out.glob("*.png")) == ["a.png", "one.png", "t.png", "w.png"]


def test_a_heic_without_its_decoder_is_refused_with_what_to_install(
    penstock: Run, start_server: Callable[..., Any], tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['pi_heif'] = None\n")
    bare = {"PYTHONPATH": str(hidden), **LONG}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.heic").write_bytes(HEIC)
    message = (
        "the file is HEIC, which needs pip install 'penstock[heif]' where it is read; accepted are JPEG, PNG, WebP,"
        " TIFF and AVIF (PENSTOCK_FORMATS)"
    )
    done = penstock("run", tmp_path / "in" / "x.heic", "--op", "split", "--out", tmp_path / "o", **bare)
    assert f"x.heic: unsupported_type: {message}" in done.stdout
    server, job = start_server("--workers", "1", **bare), json.dumps({"operations": ["split"]})
    answer = httpx.post(f"{server.client.url}/v1/jobs", files={"files": ("x.heic", HEIC)}, data={"job": job})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")
    assert answer.json()["detail"] == message.replace("the file", "'x.heic'")
    submitted = penstock("submit", tmp_path / "in" / "x.heic", "--op", "split", "--server", server.client.url, **LONG)
    assert "x.heic is HEIC, which needs pip install 'penstock[heif]' on the server" in submitted.stderr


def test_a_type_that_is_not_enabled_is_named_in_json(penstock: Run, tmp_path: Path) -> None:
    options = ("--op", "split", "--out", tmp_path / "o", "--json")
    summary = json.loads(penstock("run", mixed(tmp_path / "in"), *options, PENSTOCK_FORMATS="jpeg,png").stdout)
    messages = {failure["image"]: failure["message"].split(";")[0] for failure in summary["failures"]}
    assert messages == {"IMG_0042.jpg": "the file is HEIC"}
    ignored = {each["file"]: each["reason"].split(",")[0] for each in summary["ignored"]}
    assert ignored == {"IMG_0043.HEIC": "HEIC", "a.avif": "AVIF", "t.tif": "TIFF", "w.webp": "WebP"}


def test_results_keep_the_format_of_their_images(penstock: Run, tmp_path: Path) -> None:
    given, out = mixed(tmp_path / "in"), tmp_path / "o"
    penstock("run", given, "--op", "resize=50%", "--output", "keep", "--out", out, **LONG)
    results = read_manifest(out)
    for name, kind in (("one.JPG", "jpeg"), ("w.webp", "webp"), ("t.tif", "tiff"), ("a.avif", "avif")):
        (result,) = results[name]["results"]
        data = (out / result["name"]).read_bytes()
        assert result["media_type"] == f"image/{kind}"
        assert read_header(data).type == kind
        assert Path(result["name"]).suffix == {"jpeg": ".jpg"}.get(kind, f".{kind}")


@pytest.mark.parametrize("form", ["webp", "avif", "tiff"])
def test_every_format_can_be_written(penstock: Run, tmp_path: Path, form: str) -> None:
    image = draw(tmp_path / "x.jpg")
    done = penstock("run", image, "--output", form, "--quality", "70", "--out", tmp_path / "o", **LONG)
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "o").glob(f"x*.{form}")
    shown = np.asarray(Pillow.open(io.BytesIO(result.read_bytes())).convert("RGB"))[:, :, ::-1]
    assert cv2.PSNR(np.ascontiguousarray(shown), cv2.imread(str(image))) > 25


def test_a_geotiff_is_resized_and_split_to_geotiffs_in_the_right_places(penstock: Run, tmp_path: Path) -> None:
    tags: list[Any] = [(33_550, 12, 3, (0.5, 0.5, 0.0), True), (33_922, 12, 6, (0, 0, 0, 84_000, 447_000, 0), True)]
    tags += [(34_735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 28_992), True)]
    tifffile.imwrite(tmp_path / "g.tif", np.zeros((64, 96, 3), np.uint16), photometric="rgb", extratags=tags)
    penstock(
        "run",
        tmp_path / "g.tif",
        "--op",
        "resize=48x32",
        "--op",
        "split",
        "--output",
        "keep",
        "--out",
        tmp_path,
        **LONG,
    )
    places = []
    for path in sorted(tmp_path.glob("g-*.tiff")):
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert page.dtype == np.uint16
            assert page.tags[33_550].value == (1.0, 1.0, 0.0)  # type: ignore[union-attr]
            places.append(page.tags[33_922].value[3:5])  # type: ignore[union-attr]
    assert places == [(84_000, 447_000), (84_024, 447_000), (84_000, 446_984), (84_024, 446_984)]


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_each_placement_gives_the_bytes_of_run_for_every_format(
    penstock: Run, start_server: Callable[..., Any], tmp_path: Path, placement: str
) -> None:
    given, out = mixed(tmp_path / "in"), tmp_path / "o"
    for name in ("IMG_0042.jpg", "IMG_0043.HEIC"):
        (given / name).unlink()
    tags: list[Any] = [(33_550, 12, 3, (0.5, 0.5, 0.0), True), (33_922, 12, 6, (0, 0, 0, 84_000, 447_000, 0), True)]
    tags += [(34_735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 28_992), True)]
    deep = np.arange(64 * 96 * 3, dtype=np.uint16).reshape(64, 96, 3) * 3
    tifffile.imwrite(given / "g.tif", deep, photometric="rgb", extratags=tags, compression="zlib")
    penstock("run", given, "--op", "resize=50%", "--op", "split", "--output", "keep", "--out", out, **LONG)
    expected = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*-?.*")}
    assert len(expected) == 5 * 4
    document = {"operations": [["resize", "50%"], ["split", True]], "output": "keep"}
    server = start_server("--placement", placement, "--workers", "1", input_root=given, **LONG)
    job = server.client.post_job({**document, "inputs": [{"prefix": str(given)}]})["id"]
    assert server.client.wait(job, poll_secs=0.05)["state"] == "succeeded"
    assert server.manifest(job) == expected

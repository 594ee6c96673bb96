"""Jobs with groups, in `penstock run` and on a server: a contact sheet of each folder, again if images change."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from penstock.local.sample_images import write_images

OPS = ("--op", "resize=100x", "--op", "gather=folder:contact-sheet")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write_images(folder / "north", 3, 320, 240)
    write_images(folder / "south", 2, 320, 240)
    (folder / "south" / "bad.jpg").write_bytes((folder / "south" / "photo-0000.jpg").read_bytes()[:2000])
    (folder / "west").mkdir()
    shutil.copy(folder / "south" / "bad.jpg", folder / "west" / "bad.jpg")
    return folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(penstock: Callable[..., Any], photos: Path, out: Path) -> dict[str, Any]:
    ended = penstock("run", photos, "--out", out, *OPS, "--json")
    assert ended.returncode in (0, 1), ended.stderr
    return json.loads(ended.stdout)


def test_a_run_makes_a_sheet_of_each_folder_from_the_images_that_succeeded(
    penstock: Callable[..., Any], photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = run(penstock, photos, out)
    assert (summary["done"], summary["failed"]) == (7, 3)
    assert {failure["image"]: failure["code"] for failure in summary["failures"]} == {
        "south/bad.jpg": "truncated_image",
        "west/bad.jpg": "truncated_image",
        "west/contact-sheet": "no_images",
    }
    north, south = (cv2.imread(str(out / name / "contact-sheet.jpg")) for name in ("north", "south"))
    assert north.shape[1] > south.shape[1]
    assert not (out / "west").exists()


def test_a_second_run_makes_only_the_sheets_whose_images_have_changed(
    penstock: Callable[..., Any], photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(penstock, photos, out)
    before = {path: digest(path) for path in out.rglob("contact-sheet.jpg")}
    assert run(penstock, photos, out)["done"] == 0
    write_images(photos / "a", 1, 320, 240)  # comes first, so that groups have other numbers
    (photos / "south" / "bad.jpg").write_bytes((photos / "north" / "photo-0002.jpg").read_bytes())
    assert run(penstock, photos, out)["done"] == 4
    after = {path: digest(path) for path in out.rglob("contact-sheet.jpg")}
    assert after[out / "north" / "contact-sheet.jpg"] == before[out / "north" / "contact-sheet.jpg"]
    assert after[out / "south" / "contact-sheet.jpg"] != before[out / "south" / "contact-sheet.jpg"]
    assert len(after) == 3


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_a_server_makes_the_same_sheets_and_again_after_a_retry(
    penstock: Callable[..., Any], photos: Path, start_server: Callable[..., Any], tmp_path: Path, placement: str
) -> None:
    operations = [["resize", "100x"], ["gather", "folder:contact-sheet"]]
    document = {"operations": operations, "inputs": [{"prefix": str(photos)}]}
    server = start_server("--placement", placement, "--workers", "2", input_root=photos)
    estimate = server.call("POST", "/v1/jobs?dry_run=true", document)
    assert (estimate["images"], estimate["results_per_image"], estimate["results"]) == (10, 1, None)
    assert [operation["op"] for operation in estimate["operations"]][-2:] == ["encode", "gather"]
    job = server.client.post_job(document)["id"]
    ended = server.client.wait(job, poll_secs=0.02)
    assert (ended["state"], ended["images"]["done"], ended["images"]["failed"]) == ("partial", 7, 3)
    assert server.failures(job) == {
        "south/bad.jpg": "truncated_image", "west/bad.jpg": "truncated_image", "west/contact-sheet": "no_images",
    }  # fmt: skip
    assert [(step["output"], step["step"], step["done"], step["failed"]) for step in ended["steps"]] == [
        (None, "resize", 5, 2), (None, "encode", 5, 0), ("gather", "contact-sheet", 2, 1), ("gather", "encode", 2, 0),
    ]  # fmt: skip
    images = server.call("GET", f"/v1/jobs/{job}/images")["images"]
    groups = {image["id"]: image["name"] for image in images if image.get("is_group")}
    assert {image["name"]: groups[image["group"]] for image in images if "group" in image} == {
        name: f"{name.partition('/')[0]}/contact-sheet" for name in (
            "north/photo-0000.jpg", "north/photo-0001.jpg", "north/photo-0002.jpg",
            "south/bad.jpg", "south/photo-0000.jpg", "south/photo-0001.jpg", "west/bad.jpg",
        )
    }  # fmt: skip
    run(penstock, photos, tmp_path / "out")
    assert server.manifest(job) == results_of(tmp_path / "out")
    for name in ("south", "west"):
        (photos / name / "bad.jpg").write_bytes((photos / "north" / "photo-0002.jpg").read_bytes())
    server.call("POST", f"/v1/jobs/{job}/retry", {"all": True})
    assert server.client.wait(job, poll_secs=0.02)["state"] == "succeeded"
    run(penstock, photos, tmp_path / "again")
    assert server.manifest(job) == results_of(tmp_path / "again")
    sheet = server.client.send("GET", f"/static/{job}/processed/south/contact-sheet.jpg")
    assert sheet == (tmp_path / "again" / "south" / "contact-sheet.jpg").read_bytes()


def results_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*.jpg"))
    return {str(path.relative_to(folder)): digest(path) for path in files}

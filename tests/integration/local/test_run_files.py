"""`penstock run` and the user's files: none is overwritten, removed, or taken for what it is not."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from run_folders import Run, codes, draw, names


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, links included."""
    return {
        os.path.relpath(path, folder): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.ndjson").read_text().splitlines()]


@pytest.mark.parametrize("way", ["file", "link", "link to nothing", "folder", "pipe"])
def test_what_no_run_made_is_never_overwritten(penstock: Run, tmp_path: Path, way: str) -> None:
    draw(tmp_path / "in" / "a.jpg")
    draw(tmp_path / "in" / "x.jpg")
    out = tmp_path / "o"
    out.mkdir()
    mine = out / "x-3.jpg"
    if way == "file":
        mine.write_bytes(b"mine")
    elif way == "folder":
        (mine / "below").mkdir(parents=True)
    elif way == "pipe":
        os.mkfifo(mine)
    else:
        (tmp_path / "elsewhere.jpg").write_bytes(b"mine")
        mine.symlink_to(tmp_path / ("elsewhere.jpg" if way == "link" else "nothing"))
    before = contents(tmp_path)
    refused = penstock("run", tmp_path / "in", "--op", "split", "--out", out)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert f"a result of x.jpg would overwrite {mine}, which is none of a run" in refused.stderr
    assert contents(tmp_path) == before


def test_an_original_named_like_a_result_is_not_overwritten(penstock: Run, tmp_path: Path) -> None:
    for name in ("photo.jpg", "photo-1.jpg"):
        draw(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path)
    before = contents(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        photos = [folder / "photo.jpg", folder / "photo-1.jpg"]
        for out in (tmp_path, tmp_path / "link"):
            assert penstock("run", *photos, "--op", "split", "--out", out).returncode == 2
            assert penstock("run", folder / "photo.jpg", "--op", "split", "--out", out, "--force").returncode == 2
    assert contents(tmp_path) == before


def test_a_name_that_is_known_late_fails_its_image_alone(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.jpg")
    draw(tmp_path / "in" / "y.jpg")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "x_8.png").write_bytes(b"mine")
    command = ("run", tmp_path / "in", "--op", "resize=8x8", "--output", "png", "--out", tmp_path / "o")
    done = penstock(*command, "--names", "{folder}/{stem}_{width}.{ext}")
    assert done.returncode == 1
    assert codes(tmp_path / "o") == {"x.jpg": "result_exists"}
    assert names(tmp_path / "o") == {"x_8.png", "y_8.png"}
    assert (tmp_path / "o" / "x_8.png").read_bytes() == b"mine"
    (tmp_path / "o" / "x_8.png").unlink()
    assert "1 done, 0 failed, 1 done before" in penstock(*command, "--names", "{folder}/{stem}_{width}.{ext}").stdout


def test_a_folder_of_results_that_is_a_link_is_not_written_through(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "north" / "x.jpg")
    draw(tmp_path / "in" / "y.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "north").symlink_to(tmp_path / "elsewhere")
    penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o")
    assert codes(tmp_path / "o") == {"north/x.jpg": "result_exists"}
    assert contents(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize("again", ["same", "forced"])
def test_results_beside_their_images_are_no_inputs(penstock: Run, tmp_path: Path, again: str) -> None:
    source = draw(tmp_path / "photo.jpg")
    before = source.read_bytes()
    (tmp_path.parent / "link").unlink(missing_ok=True)
    (tmp_path.parent / "link").symlink_to(tmp_path)
    assert penstock("run", source, "--op", "split", "--out", tmp_path).returncode == 0
    forced = ("--force", "--op", "resize=8x8", "--names", "{folder}/{stem}_small.{ext}")
    how = forced if again == "forced" else ("--op", "split")
    done = penstock("run", *sorted(tmp_path.glob("*.jpg")), *how, "--out", tmp_path.parent / "link", "--json")
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["done"] + summary["skipped"]) == (0, 1)
    assert {item["file"] for item in summary["ignored"]} == {f"photo-{part}.jpg" for part in range(4)}
    assert {item["reason"] for item in summary["ignored"]} == {"a result of an earlier run"}
    assert source.read_bytes() == before


def test_nothing_outside_the_results_folder_is_removed(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.jpg")
    out = tmp_path / "o"
    penstock("run", tmp_path / "in", "--op", "split", "--out", out)
    precious = tmp_path / "precious.txt"
    precious.write_bytes(b"precious")
    result = {"name": "../precious.txt", "size": 8, "sha256": hashlib.sha256(b"precious").hexdigest()}
    with open(out / "manifest.ndjson", "a") as file:
        file.write(json.dumps({"state": "done", "source": "0" * 16, "results": [result]}) + "\n")
        file.write('{"state": "done", "results": ["x"]}\n')
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", out, "--force")
    assert (done.returncode, names(out)) == (0, {"x.jpg"})
    assert "2 lines of" in done.stderr
    assert "Traceback" not in done.stderr
    assert precious.read_bytes() == b"precious"


def test_results_that_a_new_neighbour_renames_leave_nothing_stale(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.jpg")
    command = ("run", tmp_path / "in", "--op", "split", "--out", tmp_path / "o")
    penstock(*command)
    draw(tmp_path / "in" / "x.png")
    penstock(*command)
    assert names(tmp_path / "o") == {f"x.{kind}-{part}.jpg" for kind in ("jpg", "png") for part in range(4)}
    assert {each["name"] for line in manifest(tmp_path / "o")[1:] for each in line["results"]} == names(tmp_path / "o")
    assert "2 done before" in penstock(*command).stdout


def test_changed_results_are_made_again(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.jpg")
    command = ("run", tmp_path / "in", "--op", "split", "--out", tmp_path / "o")
    penstock(*command)
    path = tmp_path / "o" / "x-2.jpg"
    good, when = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(bytes(len(good)))
    assert "1 done, 0 failed in" in penstock(*command).stdout
    assert path.read_bytes() == good
    path.write_bytes(bytes(len(good)))
    os.utime(path, ns=(when, when))
    when_made = next(each["mtime_ns"] for each in manifest(tmp_path / "o")[1]["results"] if each["name"] == path.name)
    os.utime(path, ns=(when_made, when_made))
    assert "1 done before" in penstock(*command).stdout
    assert "1 done, 0 failed in" in penstock(*command, "--verify").stdout
    assert path.read_bytes() == good

"""`penstock run`: inputs, results, repeated runs, interruptions and failures."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from run_folders import Run, codes, digests, draw, leftovers, names, written
from waiting import wait_until


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def group_of(leader: int) -> list[int]:
    """Return the other processes of a process group."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == leader and int(entry.name) != leader:
            members.append(int(entry.name))
    return members


def test_results_are_opencvs_and_the_summary_counts_them(penstock: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "in" / "x.png")
    done = penstock("run", source, "--op", "resize=16x12", "--op", "split", "--output", "png", "--out", tmp_path / "o")
    assert done.returncode == 0
    assert "1 done, 0 failed" in done.stdout
    small = cv2.resize(cv2.imread(str(source)), (16, 12), interpolation=cv2.INTER_AREA)
    for part, (top, left) in enumerate([(0, 0), (0, 8), (6, 0), (6, 8)]):
        result = cv2.imread(str(tmp_path / "o" / f"x-{part}.png"))
        assert np.array_equal(result, small[top : top + 6, left : left + 8])
    assert leftovers(tmp_path / "o") == set()


def test_files_folders_and_globs_are_each_processed_once(penstock: Run, tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/deep/2.png", "b/3.jpg", "b/4.jpg", "c/5.png"):
        draw(tmp_path / name)
    inputs = [tmp_path / "a", tmp_path / "a/1.jpg", tmp_path / "b/*.jpg", tmp_path / "c/5.png"]
    done = penstock("run", *inputs, "--op", "split", "--out", tmp_path / "o")
    assert "5 done, 0 failed" in done.stdout
    stems = ["a/1", "a/deep/2", "b/3", "b/4", "c/5"]
    assert names(tmp_path / "o") == {f"{stem}-{part}.jpg" for stem in stems for part in range(4)}


def test_images_with_the_same_name_get_distinct_results(penstock: Run, tmp_path: Path) -> None:
    values = {"a/x.jpg": 10, "b/x.jpg": 60, "b/x.png": 110, "b/x.jpeg": 160}
    for name, value in values.items():
        draw(tmp_path / "in" / name, value)
    penstock(
        "run", tmp_path / "in/a", tmp_path / "in/b", "--op", "blur=median", "--output", "png", "--out", tmp_path / "o"
    )
    expected = {"a/x.png": 10, "b/x.jpg.png": 60, "b/x.png.png": 110, "b/x.jpeg.png": 160}
    assert names(tmp_path / "o") == set(expected)
    for name, value in expected.items():
        assert abs(int(cv2.imread(str(tmp_path / "o" / name))[20, 20, 0]) - value) < 4


def test_names_of_arbitrary_bytes_give_distinct_results(penstock: Run, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    data = draw(tmp_path / "sample.jpg").read_bytes()
    for name in (
        b"caf\xe9.jpg",
        b"caf\xe8.jpg",
        b"%41?#.jpg",
        "ünï \u202e.jpg".encode(),
        b"n" * 251 + b".jpg",
        b"\n\t.jpg",
    ):
        with open(folder + b"/" + name, "wb") as file:
            file.write(data)
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o", PYTHONUTF8="1")
    assert "6 done, 0 failed" in done.stdout, done.stderr
    assert len(names(tmp_path / "o")) == 6
    assert "6 done before" in penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o").stdout


def test_a_results_folder_inside_the_input_folder_is_not_an_input(penstock: Run, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "in" / f"{number}.jpg")
    out = tmp_path / "in" / "results"
    for inputs in ([tmp_path / "in"], [tmp_path / "in/*"]):
        assert penstock("run", *inputs, "--op", "resize=8x8", "--out", out).returncode == 0
        assert names(out) == {f"{number}.jpg" for number in range(3)}


def test_a_results_folder_that_is_the_input_folder_is_refused(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a" / "x.jpg")
    draw(tmp_path / "in" / "b" / "x.jpg")
    refused = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "in")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "is the input folder itself; choose another folder" in refused.stderr
    assert len(names(tmp_path / "in")) == 2


def test_the_result_of_a_single_image_may_be_written_beside_it(penstock: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "x.jpg")
    command = ("run", source, "--op", "resize=8x8", "--names", "{folder}/{stem}-{width}x{height}.{ext}")
    assert penstock(*command, "--out", tmp_path).returncode == 0
    assert names(tmp_path) == {"x.jpg", "x-8x8.jpg"}


@pytest.mark.parametrize("way", ["itself", "link", "other name", "above"])
def test_an_input_is_never_overwritten(penstock: Run, tmp_path: Path, way: str) -> None:
    source, out = draw(tmp_path / "a" / "x.jpg"), tmp_path / "a"
    if way == "link":
        (tmp_path / "b").symlink_to(tmp_path / "a")
        source = tmp_path / "b" / "x.jpg"
    elif way == "other name":
        source = source.rename(tmp_path / "a" / "X.JPG")
    elif way == "above":
        draw(tmp_path / "a" / "a" / "x.jpg", 90)
        source, out = tmp_path / "a", tmp_path
    before = written(tmp_path)
    refused = penstock("run", source, "--op", "resize=8x8", "--out", out)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "would overwrite the input" in refused.stderr
    assert written(tmp_path) == before
    assert penstock("run", source, "--op", "resize=8x8", "--out", out, "--output", "png").returncode == 0


def test_a_folder_without_images_exits_with_2_and_says_what_it_has(penstock: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    refused = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o")
    assert (refused.returncode, refused.stderr) == (2, f"penstock: no images in {tmp_path / 'in'}: notes.txt is text\n")
    assert not (tmp_path / "o").exists()


def test_links_are_followed_and_what_is_ignored_is_named(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.jpg")
    draw(tmp_path / "else" / "b.jpg")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "image.jpg").symlink_to(tmp_path / "else" / "b.jpg")
    (tmp_path / "in" / "around").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o", "--json")
    assert names(tmp_path / "o") == {"a.jpg", "image.jpg", "folder/b.jpg"}
    ignored = {"notes.txt": "text", "around": "a link to a folder that it is in"}
    summary = json.loads(done.stdout)
    assert {item["file"]: item["reason"] for item in summary["ignored"]} == ignored
    lines = [json.loads(line) for line in (tmp_path / "o" / "manifest.ndjson").read_text().splitlines()]
    assert {line["image"]: line["reason"] for line in lines if line.get("state") == "ignored"} == ignored


def test_names_of_results_follow_the_template(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "north" / "x.jpg")
    draw(tmp_path / "in" / "y.png")
    command = ("run", tmp_path / "in", "--op", "resize=16x12", "--op", "split", "--out", tmp_path / "o")
    template = "{width}/{folder}/{stem}_{part}.{ext}"
    assert penstock(*command, "--names", template).returncode == 0
    assert names(tmp_path / "o") == {f"8/{stem}_{part}.jpg" for stem in ("north/x", "y") for part in range(4)}
    assert "2 done before" in penstock(*command, "--names", template).stdout
    refused = penstock(*command)
    assert (refused.returncode, "--force" in refused.stderr) == (2, True)
    refused = penstock(*command, "--names", "{folder}/{stem}.{ext}")
    assert refused.returncode == 2
    assert "has no {part}, but an image has 4 results" in refused.stderr


def test_names_that_differ_in_case_or_composition_have_results_that_stay_apart(penstock: Run, tmp_path: Path) -> None:
    for number, name in enumerate(["IMG_1.JPG", "img_1.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg"]):
        draw(tmp_path / "in" / name, 40 * number + 20)
    assert penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o").returncode == 0
    made = names(tmp_path / "o")
    assert len({unicodedata.normalize("NFC", name).casefold() for name in made}) == 4
    assert {"IMG_1.jpg", "img_1~2.jpg"} < made


def test_a_second_run_processes_only_what_is_missing_or_changed(penstock: Run, tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path / "in" / f"{number}.png", 20 * number)
    command = ("run", tmp_path / "in", "--op", "resize=8x8", "--op", "split", "--out", tmp_path / "o")
    penstock(*command)
    before = written(tmp_path / "o")
    assert "0 done, 0 failed, 6 done before" in penstock(*command).stdout
    assert written(tmp_path / "o") == before

    (tmp_path / "o" / "1-2.jpg").unlink()
    draw(tmp_path / "in" / "2.png", 200)
    draw(tmp_path / "in" / "6.png", 210)
    assert "3 done, 0 failed, 4 done before" in penstock(*command).stdout
    after = written(tmp_path / "o")
    assert {name.partition("-")[0] for name in after if after[name] != before.get(name)} == {"1", "2", "6"}
    assert "7 done before" in penstock(*command).stdout


def test_an_input_changed_back_is_processed_again(penstock: Run, tmp_path: Path) -> None:
    """The manifest then has both versions, but the results are those of the later one."""
    source = draw(tmp_path / "in" / "x.png", 10)
    status, old = source.stat(), source.read_bytes()
    command = ("run", tmp_path / "in", "--op", "resize=1x1", "--output", "png", "--effort", 0, "--out", tmp_path / "o")
    penstock(*command)
    first = digests(tmp_path / "o")
    draw(source, 200)
    penstock(*command)
    assert digests(tmp_path / "o") != first
    source.write_bytes(old)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "1 done, 0 failed" in penstock(*command).stdout
    assert digests(tmp_path / "o") == first


def test_results_of_other_operations_are_kept_unless_forced(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.png")
    penstock("run", tmp_path / "in", "--op", "split", "--out", tmp_path / "o")
    before = written(tmp_path / "o")
    other = ("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o")
    refused = penstock(*other)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--force" in refused.stderr
    assert written(tmp_path / "o") == before
    assert penstock(*other, "--force").returncode == 0
    assert names(tmp_path / "o") == {"x.jpg"}


def test_ctrl_c_keeps_results_and_the_same_command_processes_the_rest(
    start: Callable[..., Any], penstock: Run, tmp_path: Path
) -> None:
    for number in range(40):
        draw(tmp_path / "in" / f"{number:02}.png", number)
    command = ("run", tmp_path / "in", "--op", "pause=0.05", "--op", "split", "--out", tmp_path / "o", "--parallel", 2)
    running = start(*command)
    wait_until(lambda: len(names(tmp_path / "o")) >= 8)
    os.killpg(running.pid, signal.SIGINT)
    stdout, stderr = running.communicate(timeout=180)
    assert running.returncode == 130
    assert stdout.startswith("interrupted: ")
    assert "Traceback" not in stderr
    assert leftovers(tmp_path / "o") == set()
    before = written(tmp_path / "o")
    assert len(before) % 4 == 0, "an image is finished or not begun"
    assert len(before) < 160
    done = penstock(*command)
    [noted] = re.findall(r"(\d+) done before", done.stdout)
    assert len(before) // 4 - 2 <= int(noted) <= len(before) // 4, "each worker may have stored one more than was noted"
    after = written(tmp_path / "o")
    assert len(after) == 160
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("delay_secs", [0.0, 0.1, 0.3])
def test_ctrl_c_while_workers_start_exits_quietly(start: Callable[..., Any], tmp_path: Path, delay_secs: float) -> None:
    for number in range(20):
        draw(tmp_path / "in" / f"{number:02}.png", number)
    running = start("run", tmp_path / "in", "--op", "pause=0.2", "--out", tmp_path / "o")
    wait_until((tmp_path / "o").exists)
    time.sleep(delay_secs)
    os.killpg(running.pid, signal.SIGINT)
    _, stderr = running.communicate(timeout=180)
    assert running.returncode == 130
    assert "Traceback" not in stderr
    wait_until(lambda: not group_of(running.pid))


def test_a_killed_run_does_not_disturb_the_next_one(start: Callable[..., Any], penstock: Run, tmp_path: Path) -> None:
    for number in range(30):
        draw(tmp_path / "in" / f"{number:02}.png", number)
    plan = ("--op", "pause=0.03", "--op", "split", "--op", "blur=gaussian")
    for results in (4, 40):
        running = start("run", tmp_path / "in", *plan, "--out", tmp_path / "o")
        wait_until(lambda results=results: len(names(tmp_path / "o")) >= results)
        running.kill()
        running.wait(30)
        wait_until(lambda leader=running.pid: not group_of(leader))
    done = penstock("run", tmp_path / "in", *plan, "--out", tmp_path / "o")
    assert done.returncode == 0
    assert int(done.stdout.split(" done before")[0].split()[-1]) > 0
    assert leftovers(tmp_path / "o") == set()
    penstock("run", tmp_path / "in", *plan, "--out", tmp_path / "undisturbed")
    assert digests(tmp_path / "o") == digests(tmp_path / "undisturbed")


def test_a_killed_worker_loses_nothing(start: Callable[..., Any], tmp_path: Path) -> None:
    for number in range(30):
        draw(tmp_path / "in" / f"{number:02}.png", number)
    running = start("run", tmp_path / "in", "--op", "pause=0.05", "--out", tmp_path / "o", "--json")
    wait_until(lambda: len(names(tmp_path / "o")) >= 4)
    victims = [pid for pid in group_of(running.pid) if not children(pid)]
    os.kill(victims[-1], signal.SIGKILL)
    stdout, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert (json.loads(stdout)["done"], len(names(tmp_path / "o"))) == (30, 30)


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def test_images_that_kill_hang_or_raise_fail_alone(penstock: Run, tricky: Callable[..., Path], tmp_path: Path) -> None:
    folder = tricky("crash", "hang", "raise", "shapeless", good=12)
    done = penstock("run", folder, "--op", "blur=median", "--op", "trip", "--out", tmp_path / "o")
    assert done.returncode == 1
    assert "12 done, 4 failed" in done.stdout
    assert codes(tmp_path / "o") == {
        "good-004-crash.png": "step_crashed",
        "good-004-hang.png": "step_timeout",
        "good-004-raise.png": "internal",
        "good-004-shapeless.png": "internal",
    }
    assert "good-004-raise.png: internal: trip raised RuntimeError: tripped over it" in done.stdout
    assert len(names(tmp_path / "o")) == 12
    assert leftovers(tmp_path / "o") == set(), "kept inputs of failed steps go as well"


def test_hostile_files_fail_with_their_codes_and_good_ones_are_done(
    penstock: Run, photographs: Path, tmp_path: Path
) -> None:
    shutil.copytree(photographs / "hostile", tmp_path / "in")
    for number in range(3):
        draw(tmp_path / "in" / f"good-{number}.png")
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o")
    assert done.returncode == 1
    assert names(tmp_path / "o") == {f"good-{number}.jpg" for number in range(3)}
    found = codes(tmp_path / "o")
    assert len(found) == len(list((photographs / "hostile").iterdir()))
    assert found["bomb-16384x16384.png"] == found["bomb-65536x65536.png"] == "too_many_pixels"
    assert found["truncated.jpg"] == "truncated_image"
    assert {code for name, code in found.items() if name.startswith("pngsuite")} <= {
        "corrupt_image",
        "truncated_image",
        "unsupported_type",
    }


def test_unreadable_files_are_reported_and_the_rest_is_processed(penstock: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    draw(folder / "good.jpg")
    (folder / "empty.jpg").touch()
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "text.jpg").write_text("no image")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_text("no image")
    (folder / "around").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    shutil.copy(folder / "good.jpg", folder / "without-suffix")
    done = penstock("run", folder, "--op", "resize=8x8", "--out", tmp_path / "o")
    assert "2 done, 2 failed, 5 ignored" in done.stdout
    assert "  ignored: around is a link to a folder that it is in\n" in done.stdout
    assert codes(tmp_path / "o") == {
        "empty.jpg": "empty_file",
        "text.jpg": "unsupported_type",
    }
    assert names(tmp_path / "o") == {"good.jpg", "without-suffix.jpg"}


def test_images_of_other_types_in_a_folder_are_ignored_by_name(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "good.jpg")
    for name, head in OTHER_TYPES.items():
        (tmp_path / "in" / name).write_bytes(head + bytes(300))
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o", "--json")
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["done"], summary["failures"]) == (0, 1, [])
    assert {each["file"]: each["reason"].partition(" ")[0] for each in summary["ignored"]} == TYPE_NAMES
    alone = penstock("run", tmp_path / "in" / "anim.gif", "--op", "resize=8x8", "--out", tmp_path / "alone")
    assert (alone.returncode, "anim.gif: unsupported_type: the file is GIF" in alone.stdout) == (1, True)


OTHER_TYPES = {
    "anim.gif": b"GIF89a",
    "scan.bmp": b"BM\x36\x01\0\0\0\0\0\0\x36",
    "IMG_0001.CR3": b"\0\0\0\x18ftypcrx ",
    "layers.psd": b"8BPS\0\1",
    "without-suffix": b"\0\0\0\x0cJXL \r\n\x87\n",
}
TYPE_NAMES = {
    "anim.gif": "GIF",
    "scan.bmp": "BMP",
    "IMG_0001.CR3": "CR3",
    "layers.psd": "PSD",
    "without-suffix": "JPEG",
}


def test_an_unreadable_folder_is_reported_and_the_rest_is_processed(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "good.jpg")
    here = os.open(tmp_path / "in", os.O_RDONLY)
    for _ in range(20):  # deeper than the maximum path length
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o")
    assert "1 done, 1 failed" in done.stdout, done.stderr
    assert list(codes(tmp_path / "o").values()) == ["source_forbidden"]
    assert "Traceback" not in done.stderr


def test_regions_beside_images_are_moved_into_the_manifest(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.png")
    draw(tmp_path / "in" / "y.png")
    sidecar = tmp_path / "in" / "x.png.regions.json"
    command = ("run", tmp_path / "in", "--op", "resize=16x12", "--out", tmp_path / "o")
    assert "2 done, 0 failed in" in penstock(*command).stdout
    sidecar.write_text('{"regions": [{"box": [8, 6, 16, 12], "label": "face"}]}')
    assert "1 done, 0 failed, 1 done before in" in penstock(*command).stdout
    results = [json.loads(line) for line in (tmp_path / "o" / "manifest.ndjson").read_text().splitlines()[1:]]
    found = {entry["image"]: entry["results"][0].get("regions") for entry in results}
    assert found == {"x.png": [{"box": [4.0, 3.0, 8.0, 6.0], "label": "face"}], "y.png": None}
    sidecar.write_text("[")
    failed = penstock(*command)
    assert failed.returncode == 1
    assert "x.png: invalid_regions: 'x.png.regions.json': it is not JSON" in failed.stdout

"""`penstock run` as a command: what it takes, what it leaves, what it says, and what an end of any kind costs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SECS = 60.0
Run = Callable[..., subprocess.CompletedProcess[str]]


def draw(path: Path, value: int = 90, width: int = 32, height: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((height, width, 3), value, np.uint8)
    picture[: height // 2, :, 1] = np.arange(width, dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return path


def names(folder: Path) -> set[str]:
    """The results in a folder, below it as well."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".jpg", ".png")}


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - names(folder) - {"manifest.ndjson"}


def codes(folder: Path) -> dict[str, str]:
    """The error code of each failed image, from the manifest."""
    lines = [json.loads(line) for line in (folder / "manifest.ndjson").read_text().splitlines()]
    return {line["image"]: line["error"]["code"] for line in lines if "error" in line}


def written(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in names(folder)}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line in a process group of its own, as a terminal would."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "penstock", *map(str, arguments)]
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def group_of(leader: int) -> list[int]:
    """The other processes of a process group."""
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


def test_files_folders_and_globs_are_taken_once_each(penstock: Run, tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/deep/2.png", "b/3.jpg", "b/4.jpg", "c/5.png"):
        draw(tmp_path / name)
    inputs = [tmp_path / "a", tmp_path / "a/1.jpg", tmp_path / "b/*.jpg", tmp_path / "c/5.png"]
    done = penstock("run", *inputs, "--op", "split", "--out", tmp_path / "o")
    assert "5 done, 0 failed" in done.stdout
    stems = ["a/1", "a/deep/2", "b/3", "b/4", "c/5"]
    assert names(tmp_path / "o") == {f"{stem}-{part}.jpg" for stem in stems for part in range(4)}


def test_pictures_with_one_name_never_meet(penstock: Run, tmp_path: Path) -> None:
    values = {"a/x.jpg": 10, "b/x.jpg": 60, "b/x.png": 110, "b/x.jpeg": 160}
    for name, value in values.items():
        draw(tmp_path / "in" / name, value)
    penstock(
        "run", tmp_path / "in/a", tmp_path / "in/b", "--op", "blur=median", "--output", "png", "--out", tmp_path / "o"
    )
    expected = {"a/x-0.png": 10, "b/x.jpg-0.png": 60, "b/x.png-0.png": 110, "b/x.jpeg-0.png": 160}
    assert names(tmp_path / "o") == set(expected)
    for name, value in expected.items():
        assert abs(int(cv2.imread(str(tmp_path / "o" / name))[20, 20, 0]) - value) < 4


def test_names_of_any_bytes_give_results_that_can_be_told_apart(penstock: Run, tmp_path: Path) -> None:
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


def test_a_results_folder_among_the_pictures_is_not_taken_for_pictures(penstock: Run, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "in" / f"{number}.jpg")
    out = tmp_path / "in" / "results"
    for inputs in ([tmp_path / "in"], [tmp_path / "in/*"]):
        assert penstock("run", *inputs, "--op", "resize=8x8", "--out", out).returncode == 0
        assert names(out) == {f"{number}-0.jpg" for number in range(3)}


def test_results_that_would_lie_among_the_pictures_are_refused(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a" / "x.jpg")
    draw(tmp_path / "in" / "b" / "x.jpg")
    refused = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "in")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "choose another --out" in refused.stderr
    assert len(names(tmp_path / "in")) == 2


def test_one_picture_may_have_its_result_beside_it(penstock: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "x.jpg")
    assert penstock("run", source, "--op", "resize=8x8", "--out", tmp_path).returncode == 0
    assert names(tmp_path) == {"x.jpg", "x-0.jpg"}


def test_run_again_does_only_what_is_missing_changed_or_was_taken_away(penstock: Run, tmp_path: Path) -> None:
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


def test_a_source_put_back_to_what_it_was_is_done_again(penstock: Run, tmp_path: Path) -> None:
    """The manifest tells of both versions then, and only the later one is what lies there."""
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
    assert names(tmp_path / "o") == {"x-0.jpg"}


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_does_the_rest(
    start: Callable[..., Any], penstock: Run, tmp_path: Path
) -> None:
    for number in range(40):
        draw(tmp_path / "in" / f"{number:02}.png", number)
    command = ("run", tmp_path / "in", "--op", "pause=0.05", "--op", "split", "--out", tmp_path / "o", "--parallel", 2)
    running = start(*command)
    wait_until(lambda: len(names(tmp_path / "o")) >= 8)
    os.killpg(running.pid, signal.SIGINT)
    stdout, stderr = running.communicate(timeout=30)
    assert running.returncode == 130
    assert stdout.startswith("interrupted: ")
    assert "Traceback" not in stderr
    assert leftovers(tmp_path / "o") == set()
    before = written(tmp_path / "o")
    assert len(before) % 4 == 0, "an image is finished or not begun"
    assert len(before) < 160
    done = penstock(*command)
    assert f"{len(before) // 4} done before" in done.stdout
    after = written(tmp_path / "o")
    assert len(after) == 160
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("delay_secs", [0.0, 0.1, 0.3])
def test_ctrl_c_while_workers_start_ends_quietly_too(
    start: Callable[..., Any], tmp_path: Path, delay_secs: float
) -> None:
    for number in range(20):
        draw(tmp_path / "in" / f"{number:02}.png", number)
    running = start("run", tmp_path / "in", "--op", "pause=0.2", "--out", tmp_path / "o")
    wait_until((tmp_path / "o").exists)
    time.sleep(delay_secs)
    os.killpg(running.pid, signal.SIGINT)
    _, stderr = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in stderr
    wait_until(lambda: not group_of(running.pid))


def test_a_killed_run_leaves_nothing_that_the_next_one_minds(
    start: Callable[..., Any], penstock: Run, tmp_path: Path
) -> None:
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


def test_a_killed_worker_costs_nothing(start: Callable[..., Any], tmp_path: Path) -> None:
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


def test_pictures_that_kill_hang_or_raise_fail_alone(
    penstock: Run, tricky: Callable[..., Path], tmp_path: Path
) -> None:
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


def test_each_hostile_file_fails_with_its_own_code_and_the_good_ones_are_done(
    penstock: Run, photographs: Path, tmp_path: Path
) -> None:
    shutil.copytree(photographs / "hostile", tmp_path / "in")
    for number in range(3):
        draw(tmp_path / "in" / f"good-{number}.png")
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o")
    assert done.returncode == 1
    assert names(tmp_path / "o") == {f"good-{number}-0.jpg" for number in range(3)}
    found = codes(tmp_path / "o")
    assert len(found) == len(list((photographs / "hostile").iterdir()))
    assert found["bomb-16384x16384.png"] == found["bomb-65536x65536.png"] == "too_many_pixels"
    assert found["truncated.jpg"] == "truncated_image"
    assert {code for name, code in found.items() if name.startswith("pngsuite")} <= {
        "corrupt_image",
        "truncated_image",
        "unsupported_type",
    }


def test_what_cannot_be_read_in_a_folder_is_told_and_the_rest_is_done(penstock: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    draw(folder / "good.jpg")
    (folder / "empty.jpg").touch()
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "text.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_text("no picture")
    (folder / "around").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    shutil.copy(folder / "good.jpg", folder / "without-suffix")
    done = penstock("run", folder, "--op", "resize=8x8", "--out", tmp_path / "o")
    assert "2 done, 4 failed, 1 files passed over" in done.stdout
    assert codes(tmp_path / "o") == {
        "empty.jpg": "empty_file",
        "gone.jpg": "source_not_found",
        "loop.jpg": "source_forbidden",
        "text.jpg": "unsupported_type",
    }
    assert names(tmp_path / "o") == {"good-0.jpg", "without-suffix-0.jpg"}


def test_a_folder_that_cannot_be_listed_is_told_and_the_rest_is_done(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "good.jpg")
    here = os.open(tmp_path / "in", os.O_RDONLY)
    for _ in range(20):  # deeper than any path can say
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    done = penstock("run", tmp_path / "in", "--op", "resize=8x8", "--out", tmp_path / "o")
    assert "1 done, 1 failed" in done.stdout, done.stderr
    assert list(codes(tmp_path / "o").values()) == ["source_forbidden"]
    assert "Traceback" not in done.stderr


def test_json_is_one_document_and_nothing_else(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.jpg")
    (tmp_path / "in" / "y.jpg").touch()
    done = penstock("run", tmp_path / "in", "--op", "split", "--out", tmp_path / "o", "--json")
    summary = json.loads(done.stdout)
    assert (summary["done"], summary["failed"], summary["skipped"], summary["interrupted"]) == (1, 1, 0, False)
    assert summary["failures"] == [
        {"image": "y.jpg", "code": "empty_file", "message": "the file is empty", "step": "split"}
    ]
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--op", "sharpen"], "/operations/0: no operation 'sharpen'; accepted are resize, split, blur, encode"),
        (["--op", "split", "--op", "blur=fast"], "/operations/1: blur method"),
        (["--op", 'encode="png"', "--output", "jpg"], "/operations/0: encode and output differ"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(
    penstock: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    refused = penstock("run", draw(tmp_path / "x.jpg"), *arguments, "--out", tmp_path / "o")
    assert (refused.returncode, refused.stderr.count("\n"), refused.stdout) == (2, 1, "")
    assert said in refused.stderr
    assert not (tmp_path / "o").exists()


def test_other_wrong_uses_end_with_2_and_say_why(penstock: Run, tmp_path: Path) -> None:
    picture = draw(tmp_path / "x.jpg")
    (tmp_path / "bad.json").write_text('{"operations": [], "quality": 101}')
    for arguments, said in (
        (["run", tmp_path / "gone.jpg", "--op", "split", "--out", tmp_path / "o"], "gone.jpg: no such file or folder"),
        (["run", picture, "--op", "split"], "--out"),
        (["run", "--out", tmp_path / "o"], "PATHS"),
        (["run", picture, "--job", tmp_path / "bad.json", "--out", tmp_path / "o"], "quality"),
        (["run", picture, "--job", tmp_path / "bad.json", "--op", "split", "--out", tmp_path / "o"], "--op and --job"),
        (["fly"], "fly"),
    ):
        refused = penstock(*arguments)
        assert refused.returncode == 2, arguments
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_settings_that_cannot_be_are_all_named_at_once(penstock: Run, tmp_path: Path) -> None:
    refused = penstock(
        "run", draw(tmp_path / "x.jpg"), "--op", "split", "--out", tmp_path / "o", PENSTOCK_MAX_ATTEMPTS="0",
        PENSTOCK_STEP_TIMEOUT_SECS="inf",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "PENSTOCK_MAX_ATTEMPTS=0" in refused.stderr
    assert "PENSTOCK_STEP_TIMEOUT_SECS=inf" in refused.stderr


def test_a_results_folder_that_cannot_be_used_is_refused_with_3(penstock: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = penstock("run", draw(tmp_path / "x.jpg"), "--op", "split", "--out", tmp_path / "file" / "o")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "choose another --out" in refused.stderr


def test_a_second_run_into_one_folder_is_refused_with_3_and_does_no_harm(
    start: Callable[..., Any], penstock: Run, tmp_path: Path
) -> None:
    for number in range(20):
        draw(tmp_path / "in" / f"{number:02}.png", number)
    command = ("run", tmp_path / "in", "--op", "pause=0.1", "--out", tmp_path / "o")
    first = start(*command)
    wait_until(lambda: names(tmp_path / "o"))
    first.send_signal(signal.SIGSTOP)
    refused = penstock(*command)
    first.send_signal(signal.SIGCONT)
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "another run is writing" in refused.stderr
    first.communicate(timeout=60)
    assert (first.returncode, len(names(tmp_path / "o"))) == (0, 20)


def test_workers_that_cannot_start_end_the_run_with_3(penstock: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "simplejpeg.py").write_text('raise ImportError("libjpeg is missing")')
    refused = penstock(
        "run", draw(tmp_path / "x.jpg"), "--op", "split", "--out", tmp_path / "o", PYTHONPATH=str(broken)
    )
    assert refused.returncode == 3
    assert "libjpeg is missing" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "penstock: the workers cannot start; the reason stands above"
    assert leftovers(tmp_path / "o") == set()


def test_a_step_package_that_is_broken_is_named_in_one_line(penstock: Run, tmp_path: Path) -> None:
    info = tmp_path / "plugins" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[penstock.steps]\nsharpen = nowhere:sharpen\n")
    refused = penstock(
        "run", draw(tmp_path / "x.jpg"), "--op", "split", "--out", tmp_path / "o", PYTHONPATH=str(info.parent)
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "step sharpen = nowhere:sharpen cannot be loaded: ModuleNotFoundError" in refused.stderr


def test_a_job_document_names_operations_and_output_and_options_go_before_it(penstock: Run, tmp_path: Path) -> None:
    picture = draw(tmp_path / "in" / "x.png")
    document = {"operations": [["resize", "8x8"], {"op": "brighten", "amount": 40}], "output": "png", "effort": 0}
    (tmp_path / "job.json").write_text(json.dumps(document))
    penstock("run", picture, "--job", tmp_path / "job.json", "--out", tmp_path / "o")
    expected = cv2.add(cv2.resize(cv2.imread(str(picture)), (8, 8), interpolation=cv2.INTER_AREA), (40,) * 3)
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x-0.png")), expected)
    penstock("run", picture, "--job", tmp_path / "job.json", "--output", "jpg", "--out", tmp_path / "p")
    assert names(tmp_path / "p") == {"x-0.jpg"}


def test_steps_of_ones_own_take_parameters_and_may_make_several_pictures(penstock: Run, tmp_path: Path) -> None:
    picture = draw(tmp_path / "in" / "x.png")
    ops = ["--op", 'brighten={"amount": 7}', "--op", "twins", "--op", "brighten"]
    done = penstock("run", picture, *ops, "--output", "png", "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    bright = cv2.add(cv2.imread(str(picture)), (17,) * 3)
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x-0.png")), bright)
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x-1.png")), cv2.flip(bright, 1))


def test_help_loads_nothing_heavy(environment: dict[str, str]) -> None:
    program = (
        "import sys; sys.argv = ['penstock', sys.argv[1], '--help'][: 3 if sys.argv[1] else 1] or []\n"
        "sys.argv = [part for part in sys.argv if part]\n"
        "from penstock.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'cv2', 'numpy', 'fastapi', 'pydantic', 'pydantic_settings', 'sqlalchemy', 'uvicorn', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    for command in ("", "run", "serve", "bench"):
        arguments = [sys.executable, "-c", program, command or "--help"]
        shown = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
        assert "Usage: penstock" in shown.stdout
        assert shown.stderr.strip() == "[]"


PEAK = """
import resource, sys
from penstock.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_number_of_pictures(environment: dict[str, str], tmp_path: Path) -> None:
    tiny = draw(tmp_path / "tiny.png", width=4, height=4)
    peaks = {}
    for count in (2_000, 20_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            os.link(tiny, folder / f"picture-{number:06}.png")
        began = time.monotonic()
        arguments = ["run", folder, "--op", "resize=2x2", "--output", "png", "--out", tmp_path / f"o{count}"]
        command = [sys.executable, "-c", PEAK, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert f"{count} done" in done.stdout
        peaks[count] = int(done.stderr.splitlines()[-1])
        if count == 2_000 and time.monotonic() - began > 4:
            pytest.skip("this machine is too busy to run 20,000 pictures in half a minute")
    assert peaks[20_000] - peaks[2_000] < 24 * 1024, f"KiB at most: {peaks}"

"""`penstock run`: output, errors, imports and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from run_folders import Run, draw, leftovers, names
from waiting import wait_until


def test_json_is_one_document_and_nothing_else(penstock: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "x.jpg")
    (tmp_path / "in" / "y.jpg").touch()
    done = penstock("run", tmp_path / "in", "--op", "split", "--out", tmp_path / "o", "--json")
    summary = json.loads(done.stdout)
    assert (summary["done"], summary["failed"], summary["skipped"], summary["interrupted"]) == (1, 1, 0, False)
    assert summary["failures"] == [
        {"image": "y.jpg", "code": "empty_file", "message": "the file is empty", "step": "decode"}
    ]
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--op", "sharpen"], "penstock: no operation 'sharpen'; accepted are decode, resize, "),
        (["--op", "split", "--op", "blur=fast"], "penstock: blur method: 'fast' is not accepted; accepted are "),
        (["--op", 'encode="png"', "--output", "jpg"], "penstock: encode and output differ"),
    ],
)
def test_an_invalid_plan_is_refused_in_one_line(penstock: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    refused = penstock("run", draw(tmp_path / "x.jpg"), *arguments, "--out", tmp_path / "o")
    assert (refused.returncode, refused.stderr.count("\n"), refused.stdout) == (2, 1, "")
    assert said in refused.stderr
    assert not (tmp_path / "o").exists()


def test_usage_errors_exit_with_2_and_a_reason(penstock: Run, tmp_path: Path) -> None:
    image = draw(tmp_path / "x.jpg")
    (tmp_path / "bad.json").write_text('{"operations": [], "quality": 101}')
    for arguments, said in (
        (["run", tmp_path / "gone.jpg", "--op", "split", "--out", tmp_path / "o"], "gone.jpg: no such file or folder"),
        (["run", image, "--op", "split"], "--out"),
        (["run", "--out", tmp_path / "o"], "PATHS"),
        (["run", image, "--job", tmp_path / "bad.json", "--out", tmp_path / "o"], "quality"),
        (["run", image, "--job", tmp_path / "bad.json", "--op", "split", "--out", tmp_path / "o"], "--op and --job"),
        (["fly"], "fly"),
    ):
        refused = penstock(*arguments)
        assert refused.returncode == 2, arguments
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_all_invalid_settings_are_reported_at_once(penstock: Run, tmp_path: Path) -> None:
    refused = penstock(
        "run", draw(tmp_path / "x.jpg"), "--op", "split", "--out", tmp_path / "o", PENSTOCK_MAX_ATTEMPTS="0",
        PENSTOCK_STEP_TIMEOUT_SECS="inf",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "PENSTOCK_MAX_ATTEMPTS=0" in refused.stderr
    assert "PENSTOCK_STEP_TIMEOUT_SECS=inf" in refused.stderr


def test_an_unusable_results_folder_exits_with_3(penstock: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = penstock("run", draw(tmp_path / "x.jpg"), "--op", "split", "--out", tmp_path / "file" / "o")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "choose another --out" in refused.stderr


def test_a_concurrent_run_into_the_same_folder_exits_with_3(
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


def test_a_run_whose_workers_cannot_start_exits_with_3(penstock: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "simplejpeg.py").write_text('raise ImportError("libjpeg is missing")')
    refused = penstock(
        "run", draw(tmp_path / "x.jpg"), "--op", "split", "--out", tmp_path / "o", PYTHONPATH=str(broken)
    )
    assert refused.returncode == 3
    assert "libjpeg is missing" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "penstock: the workers cannot start; see the messages above"
    assert leftovers(tmp_path / "o") == set()


def test_a_broken_step_plugin_is_reported_in_one_line(penstock: Run, tmp_path: Path) -> None:
    info = tmp_path / "plugins" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[penstock.steps]\nsharpen = nowhere:sharpen\n")
    refused = penstock(
        "run", draw(tmp_path / "x.jpg"), "--op", "sharpen", "--out", tmp_path / "o", PYTHONPATH=str(info.parent)
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "step sharpen = nowhere:sharpen cannot be loaded: ModuleNotFoundError" in refused.stderr


def test_options_take_precedence_over_the_job_document(penstock: Run, tmp_path: Path) -> None:
    image = draw(tmp_path / "in" / "x.png")
    document = {"operations": [["resize", "8x8"], {"op": "brighten", "amount": 40}], "output": "png", "effort": 0}
    (tmp_path / "job.json").write_text(json.dumps(document))
    penstock("run", image, "--job", tmp_path / "job.json", "--out", tmp_path / "o")
    expected = cv2.add(cv2.resize(cv2.imread(str(image)), (8, 8), interpolation=cv2.INTER_AREA), (40,) * 3)
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x.png")), expected)
    penstock("run", image, "--job", tmp_path / "job.json", "--output", "jpg", "--out", tmp_path / "p")
    assert names(tmp_path / "p") == {"x.jpg"}


def test_plugin_steps_take_parameters_and_may_make_several_parts(penstock: Run, tmp_path: Path) -> None:
    image = draw(tmp_path / "in" / "x.png")
    ops = ["--op", 'brighten={"amount": 7}', "--op", "twins", "--op", "brighten"]
    done = penstock("run", image, *ops, "--output", "png", "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    bright = cv2.add(cv2.imread(str(image)), (17,) * 3)
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x-0.png")), bright)
    assert np.array_equal(cv2.imread(str(tmp_path / "o" / "x-1.png")), cv2.flip(bright, 1))


def test_help_imports_no_large_library(environment: dict[str, str]) -> None:
    program = (
        "import sys; sys.argv = ['penstock', sys.argv[1], '--help'][: 3 if sys.argv[1] else 1] or []\n"
        "sys.argv = [part for part in sys.argv if part]\n"
        "from penstock.cli.main import main\n"
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
from penstock.cli.main import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_number_of_images(environment: dict[str, str], tmp_path: Path) -> None:
    tiny = draw(tmp_path / "tiny.png", width=4, height=4)
    peaks = {}
    for count in (2_000, 20_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            os.link(tiny, folder / f"image-{number:06}.png")
        began = time.monotonic()
        arguments = ["run", folder, "--op", "resize=2x2", "--output", "png", "--out", tmp_path / f"o{count}"]
        command = [sys.executable, "-c", PEAK, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert f"{count} done" in done.stdout
        peaks[count] = int(done.stderr.splitlines()[-1])
        if count == 2_000 and time.monotonic() - began > 4:
            pytest.skip("this machine is too busy to run 20,000 images in half a minute")
    assert peaks[20_000] - peaks[2_000] < 24 * 1024, f"KiB at most: {peaks}"

"""`penstock stdio` as a process: only answers reach stdout, whatever a step prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

NOISY = """
import os, subprocess
from penstock.common.model.operations import Parameters
from penstock.common.registry import step

print("noise at import")

class Nothing(Parameters):
    pass

@step("noisy", params=Nothing)
def noisy(image, params):
    print("noise from Python", flush=True)
    os.write(1, b"noise from a library\\n")
    subprocess.run(["cat"], check=True)  # would wait for requests and eat them
    return image
"""

RunStdio = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_stdio(tmp_path: Path) -> RunStdio:
    """Runs `penstock stdio` on its whole input, with a noisy step installed."""
    (tmp_path / "noisy_steps.py").write_text(NOISY)
    folder = tmp_path / "noisy_steps-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy-steps\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[penstock.steps]\nnoisy = noisy_steps:noisy\n")

    def run(output: bytes, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "penstock", "stdio", *options]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), **more}
        done = subprocess.run(command, input=output, env=environment, capture_output=True, timeout=60, check=False)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def as_lines(*requests: dict[str, Any]) -> bytes:
    return b"".join(json.dumps({"v": 1, **request}).encode() + b"\n" for request in requests)


def test_nothing_but_answers_reaches_stdout(run_stdio: RunStdio, tmp_path: Path) -> None:
    image = np.full((6, 8, 3), 7, np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), image)
    request = {"op": "noisy", "in": [str(tmp_path / "0.png")], "out": str(tmp_path)}
    done = run_stdio(as_lines(request, request, {"op": "describe"}), "--steps", "noisy")
    output = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer.get("ok") for answer in output] == [True, True, None]
    assert np.array_equal(load_file(output[0]["out"][0])["image"], image)
    assert output[2]["step"] == "noisy"
    assert done.returncode == 0
    for noise in ("noise at import", "noise from Python", "noise from a library"):
        assert noise in done.stderr


def test_it_exits_at_the_end_of_input_after_an_unterminated_last_line(run_stdio: RunStdio) -> None:
    assert run_stdio(b"", "--steps", "blur").returncode == 0
    done = run_stdio(b'{"v": 1, "op": "describe"}', "--steps", "blur")
    assert json.loads(done.stdout)["step"] == "blur"


def test_steps_and_limits_come_from_the_environment(run_stdio: RunStdio, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((6, 8, 3), np.uint8))
    request = {"op": "blur", "params": {"method": "median"}, "in": [str(tmp_path / "0.png")], "out": str(tmp_path)}
    done = run_stdio(
        as_lines({"op": "describe"}, request), PENSTOCK_STEPS="blur", PENSTOCK_MAX_PIXELS="47", PENSTOCK_MAX_PARTS="9"
    )
    description, answer = map(json.loads, done.stdout.splitlines())
    assert list(description["operations"]) == ["blur"]
    assert answer["error"]["code"] == "too_many_pixels"


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (["--steps", "sharpen"], "no step 'sharpen'"),
        (["--root", "/nowhere/at/all"], "no such folder"),
    ],
)
def test_a_usage_error_is_one_line(run_stdio: RunStdio, options: list[str], output: str) -> None:
    done = run_stdio(b"", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert output in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("penstock: ")]) == 1
    assert "Traceback" not in done.stderr


def test_a_program_replaces_the_process(run_stdio: RunStdio) -> None:
    done = run_stdio(b"anything", PENSTOCK_PROGRAM='["tr", "a-z", "A-Z"]')
    assert (done.returncode, done.stdout) == (0, "ANYTHING")
    missing = run_stdio(b"", PENSTOCK_PROGRAM='["/nowhere/program"]')
    assert missing.returncode == 2
    assert "PENSTOCK_PROGRAM: /nowhere/program cannot be run: No such file" in missing.stderr

"""`penstock stdio` as a process: its stdout belongs to the answers, whatever a step prints."""

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

Speak = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def speak(tmp_path: Path) -> Speak:
    """Give a program its whole input; a noisy step is installed."""
    (tmp_path / "noisy_steps.py").write_text(NOISY)
    folder = tmp_path / "noisy_steps-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy-steps\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[penstock.steps]\nnoisy = noisy_steps:noisy\n")

    def run(said: bytes, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "penstock", "stdio", *options]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), **more}
        done = subprocess.run(command, input=said, env=environment, capture_output=True, timeout=60, check=False)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def as_lines(*requests: dict[str, Any]) -> bytes:
    return b"".join(json.dumps({"v": 1, **request}).encode() + b"\n" for request in requests)


def test_nothing_but_answers_reaches_stdout(speak: Speak, tmp_path: Path) -> None:
    picture = np.full((6, 8, 3), 7, np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), picture)
    request = {"op": "noisy", "in": [str(tmp_path / "0.png")], "out": str(tmp_path)}
    done = speak(as_lines(request, request, {"op": "describe"}), "--steps", "noisy")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer.get("ok") for answer in said] == [True, True, None]
    assert np.array_equal(load_file(said[0]["out"][0])["image"], picture)
    assert said[2]["step"] == "noisy"
    assert done.returncode == 0
    for noise in ("noise at import", "noise from Python", "noise from a library"):
        assert noise in done.stderr


def test_it_leaves_at_the_end_of_input_and_answers_a_last_line_without_an_end(speak: Speak) -> None:
    assert speak(b"", "--steps", "blur").returncode == 0
    done = speak(b'{"v": 1, "op": "describe"}', "--steps", "blur")
    assert json.loads(done.stdout)["step"] == "blur"


def test_its_steps_and_its_limits_come_from_the_environment(speak: Speak, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((6, 8, 3), np.uint8))
    request = {"op": "blur", "params": {"method": "median"}, "in": [str(tmp_path / "0.png")], "out": str(tmp_path)}
    done = speak(
        as_lines({"op": "describe"}, request), PENSTOCK_STEPS="blur", PENSTOCK_MAX_PIXELS="47", PENSTOCK_MAX_PARTS="9"
    )
    description, answer = map(json.loads, done.stdout.splitlines())
    assert list(description["operations"]) == ["blur"]
    assert answer["error"]["code"] == "too_many_pixels"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "sharpen"], "no step 'sharpen'"),
        (["--root", "/nowhere/at/all"], "there is no such folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_used_wrongly(speak: Speak, options: list[str], said: str) -> None:
    done = speak(b"", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("penstock: ")]) == 1
    assert "Traceback" not in done.stderr


def test_a_program_takes_its_place(speak: Speak) -> None:
    done = speak(b"anything", PENSTOCK_PROGRAM='["tr", "a-z", "A-Z"]')
    assert (done.returncode, done.stdout) == (0, "ANYTHING")
    missing = speak(b"", PENSTOCK_PROGRAM='["/nowhere/program"]')
    assert missing.returncode == 2
    assert "PENSTOCK_PROGRAM: /nowhere/program cannot be run: No such file" in missing.stderr

"""Device: a process that is to use a GPU, on a host without one and in numba's simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from penstock.steps.filters import base as filters
from penstock.worker.process.device import use_device

DESCRIBE = '{"v": 1, "op": "describe"}\n'


def describe(**environment: str) -> subprocess.CompletedProcess[str]:
    """Ask a step on stdin to describe itself."""
    command = [sys.executable, "-m", "penstock", "stdio", "--steps", "blur"]
    given = {**os.environ, "PENSTOCK_DEVICE": "cuda", **environment}
    return subprocess.run(command, input=DESCRIBE, env=given, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def numba() -> None:
    pytest.importorskip("numba", reason="numba-cuda has no packages for this system")


def test_a_process_on_the_processor_keeps_opencvs_filters() -> None:
    use_device("cpu")
    assert isinstance(filters.chosen, filters.OpenCVFilters)


def test_without_a_gpu_it_does_not_start_and_says_why_in_one_line() -> None:
    done = describe(CUDA_VISIBLE_DEVICES="", NUMBA_ENABLE_CUDASIM="0")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("penstock: PENSTOCK_DEVICE=cuda: no GPU that CUDA can use: ")


def test_with_one_its_description_says_so() -> None:
    done = describe(NUMBA_ENABLE_CUDASIM="1")
    assert json.loads(done.stdout)["gpu"] is True

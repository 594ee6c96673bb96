"""The demo of `make run`: processes a batch, shows where the results are, and exits cleanly."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.benchmark.http import RestClient
from penstock.local.demo import IMAGES
from penstock.local.server_process import find_free_port

READY = "Ctrl-C stops it."


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def demo(port: int, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "penstock.local.demo", "--port", str(port), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process
    process.terminate()
    process.communicate(timeout=180)


def read_until_up(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if READY in line:
            return "".join(output)
    return pytest.fail(f"the demo ended early: {''.join(output)}")


def test_the_demo_shows_results_keeps_serving_and_exits_cleanly(
    demo: subprocess.Popen[str], port: int, tmp_path: Path
) -> None:
    output = read_until_up(demo)
    assert f"{IMAGES} of {IMAGES} images, succeeded" in output
    folder = Path(re.findall(r"Results +(\S+)", output)[0])
    assert len(list(folder.iterdir())) == 4 * IMAGES
    job = re.findall(r"The job +\S+/#/jobs/(\S+)", output)[0]
    with RestClient(f"http://127.0.0.1:{port}") as client:
        assert client.job(job)["state"] == "succeeded"
        assert client.send("GET", f"/static/{job}/processed/", headers={"Accept": "application/json"})
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=180)
    assert demo.returncode == 0
    assert "Traceback" not in rest

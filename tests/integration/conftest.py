"""Fixtures that run `penstock run` and `penstock serve` as processes, with the tests' plugin steps installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from worker_fixture import workers as workers  # a fixture, for all here

from penstock.benchmark.http import RestClient
from penstock.local.server_process import find_free_port, serve

PLUGINS = Path(__file__).parents[1] / "plugins"
COLOURS = {"crash": (0, 0, 255), "hang": (255, 0, 0), "raise": (0, 255, 0), "shapeless": (0, 255, 255)}


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment of a process that finds the tests' plugin steps, with short time limits."""
    path = os.pathsep.join(filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")]))
    limits = {"PENSTOCK_STEP_TIMEOUT_SECS": "1", "PENSTOCK_STEP_WALL_SECS": "1", "PENSTOCK_MAX_ATTEMPTS": "2"}
    return {**os.environ, "PYTHONPATH": path, **limits}


@pytest.fixture
def penstock(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command and returns its result."""

    def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "penstock", *map(str, arguments)]
        return subprocess.run(
            command, env={**environment, **more}, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture
def tricky(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of small PNGs: `good` grey ones, and one for each kind of failure of the step `trip`."""

    def make(*kinds: str, good: int = 10) -> Path:
        folder = tmp_path / "tricky"
        folder.mkdir()
        for number in range(good):
            cv2.imwrite(str(folder / f"good-{number:03}.png"), np.full((24, 32, 3), 100 + number, np.uint8))
        for kind in kinds:
            cv2.imwrite(str(folder / f"good-004-{kind}.png"), np.full((24, 32, 3), COLOURS[kind], np.uint8))
        return folder

    return make


@dataclass
class Server:
    """A running `penstock serve`."""

    client: RestClient
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self.process.kill()
        self.process.wait(30)

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        forkers = [pid for pid in _children(self.process.pid) if b"forkserver" in _command(pid)]
        return [worker for forker in forkers for worker in _children(forker)]

    def manifest(self, job: str) -> dict[str, str]:
        """Return the SHA-256 of each result by name."""
        return {entry["name"]: entry["sha256"] for entry in self.client.results(job)}

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """Send a request; return the JSON of the response."""
        body = None if document is None else json.dumps(document).encode()
        return json.loads(self.client.send(method, path, body, {"Content-Type": "application/json"}) or b"null")

    def failures(self, job: str) -> dict[str, str]:
        """Return the error code of each failed image by name."""
        images = self.call("GET", f"/v1/jobs/{job}/images?state=failed&limit=1000")["images"]
        return {image["name"]: image["error"]["code"] for image in images}


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture
def start_server(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Server]]:
    """Starts `penstock serve` on the test's data folder, also again after a `kill`."""
    with ExitStack() as stack:

        def start(*options: str, input_root: Path = tmp_path, **more: str) -> Server:
            given = ["--data", str(tmp_path / "data"), "--input-root", str(input_root), *options]
            running = serve(given, port=find_free_port(), environment={**environment, **more}, log=tmp_path / "log")
            url, process = stack.enter_context(_ignoring_kill(running))
            return Server(stack.enter_context(RestClient(url)), process)

        yield start


class _ignoring_kill:  # noqa: N801 (used as a function)
    """A server's context that accepts that a test has killed it."""

    def __init__(self, running: Any) -> None:
        self._running = running

    def __enter__(self) -> Any:
        return self._running.__enter__()

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(None, None, None)


@pytest.fixture
def kill() -> Callable[[int], None]:
    """Kills a process with SIGKILL, if it still runs."""

    def end(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    return end

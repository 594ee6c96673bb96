"""Contestants of the benchmark: the plain pool, `penstock run`, and `penstock serve` in both placements."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

from penstock.benchmark.bench.workloads import Workload
from penstock.benchmark.http import RestClient
from penstock.common.model.errors import PenstockError
from penstock.local.server_process import find_free_port, serve

JOB_POLL_SECS = 0.25
COMMAND_TIMEOUT_SECS = 3_600.0


class BenchError(PenstockError):
    """The benchmark cannot give a meaningful figure."""


@dataclass(frozen=True)
class Round:
    """One run of a workload: the seconds that a user waits, and each result's name and content (to be read once)."""

    seconds: float
    results: Iterator[tuple[str, bytes]]


class Contestant(Protocol):
    """Runs workloads over folders of images."""

    def process(self, workload: Workload, inputs: Path, out: Path, /) -> Round:
        """Process all images of the folder `inputs`; files may be written to `out`, a new empty folder.

        Raises:
            BenchError: an image failed.
        """


@dataclass(frozen=True)
class Workspace:
    """Folders of a benchmark: `images` contains the folders of images, `work` is for the contestants' files."""

    images: Path
    work: Path

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Create both folders."""
        workspace = cls(folder / "images", folder / "work")
        workspace.images.mkdir()
        workspace.work.mkdir()
        return workspace


class Command:
    """A command; its start and exit are part of the time."""

    def __init__(self, build: Callable[[Workload, Path, Path], Sequence[str]]) -> None:
        self._build = build

    def process(self, workload: Workload, inputs: Path, out: Path, /) -> Round:
        command = [sys.executable, "-m", *self._build(workload, inputs, out)]
        start = time.perf_counter()
        try:
            ended = subprocess.run(  # noqa: S603 (one of the commands below)
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_SECS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError("contestant_failed", f"{' '.join(command)} took over {error.timeout:.0f} s") from error
        seconds = time.perf_counter() - start
        if ended.returncode != 0:
            output = ended.stderr[-500:].decode(errors="replace").strip()
            raise BenchError("contestant_failed", f"{' '.join(command)} ended with {ended.returncode}: {output}")
        return Round(seconds, _read_files(out, workload.output))


class Server:
    """A running server on this host, timed from the request to the job's end.

    The end is the server's own timestamp, by the same clock, so that frequent polling is not needed.
    `extra_fields` are added to each job document.
    """

    def __init__(self, client: RestClient, extra_fields: Mapping[str, Any] | None = None) -> None:
        self._client = client
        self._extra_fields = dict(extra_fields or {})

    def process(self, workload: Workload, inputs: Path, _out: Path, /) -> Round:
        document = workload.document() | {"inputs": [{"prefix": f"{inputs.name}/"}], "name": workload.name}
        document |= self._extra_fields
        start = time.time()
        job = self._client.post_job(document)["id"]
        ended = self._client.wait(job, poll_secs=JOB_POLL_SECS)
        seconds = datetime.fromisoformat(ended["finished_at"]).timestamp() - start
        if ended["state"] != "succeeded":
            raise BenchError("contestant_failed", f"job {job} of {workload.name} ended as {ended['state']}")
        return Round(seconds, self._fetch_results(job))

    def _fetch_results(self, job: str) -> Iterator[tuple[str, bytes]]:
        for entry in self._client.results(job):
            yield entry["name"], self._client.fetch(entry["url"])
        self._client.delete_job(job)


@contextmanager
def run_server(
    workspace: Workspace, placement: str, extra_options: Sequence[str] = (), name: str | None = None
) -> Iterator[tuple[RestClient, int]]:
    """Run a server that reads the workspace's images; yield a client of it, and its process id.

    Raises:
        UnavailableError: it did not start.
    """
    name = name or f"serve-{placement}"
    options = ["--data", str(workspace.work / name), "--placement", placement, "--input-root", str(workspace.images)]
    options += extra_options
    log = workspace.work / f"{name}.log"
    with serve(options, port=find_free_port(), log=log) as (url, process), RestClient(url) as client:
        yield client, process.pid


@contextmanager
def _run_contestant(workspace: Workspace, placement: str) -> Iterator[Contestant]:
    with run_server(workspace, placement) as (client, _):
        yield Server(client)


Start = Callable[[Workspace], AbstractContextManager[Contestant]]

CONTESTANTS: dict[str, Start] = {
    "pool": lambda _: nullcontext(Command(_pool_command)),
    "run": lambda _: nullcontext(Command(_run_command)),
    "serve-fused": lambda workspace: _run_contestant(workspace, "fused"),
    "serve-per-step": lambda workspace: _run_contestant(workspace, "per_step"),
}
"""Context managers that run each contestant, by name; all are compared with the plain OpenCV pool."""


def _pool_command(workload: Workload, inputs: Path, out: Path) -> list[str]:
    return ["penstock.benchmark.bench.plain_pool", str(inputs), str(out), workload.output, *workload.options()]


def _run_command(workload: Workload, inputs: Path, out: Path) -> list[str]:
    return ["penstock", "run", str(inputs), *workload.options(), "--output", workload.output, "--out", str(out)]


def _read_files(folder: Path, extension: str) -> Iterator[tuple[str, bytes]]:
    return ((path.name, path.read_bytes()) for path in sorted(folder.rglob(f"*.{extension}")))

"""Who takes part in the benchmark: the plain pool, `penstock run`, and `penstock serve` in both placements.

A contestant is whatever can put a folder of pictures through a workload and hand over what became of them; another
kind of server or broker joins as one more class with those two methods and a line in `CONTESTANTS`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from penstock.benchmark.bench.workloads import Workload
from penstock.benchmark.http import RestClient
from penstock.common.model.errors import PenstockError
from penstock.local.server_process import find_free_port, serve

JOB_POLL_SECS = 0.25
COMMAND_TIMEOUT_SECS = 3_600.0


class BenchError(PenstockError):
    """The benchmark cannot give a figure that means anything."""


@dataclass(frozen=True)
class Round:
    """One workload done once: the seconds that a user waits, and every result's name and bytes, to be read once."""

    seconds: float
    results: Iterator[tuple[str, bytes]]


class Contestant(Protocol):
    """One that puts folders of pictures through workloads."""

    def process(self, workload: Workload, pictures: Path, out: Path, /) -> Round:
        """Process the folder `pictures`, writing files (if any) below `out`, a new empty folder.

        Raises:
            BenchError: it could not, or not all of it.
        """


@dataclass(frozen=True)
class Arena:
    """Where contestants meet: `pictures` is the root of all picture folders, `work` is free to write in."""

    pictures: Path
    work: Path


class Command:
    """A contestant that is one command, its start and its end included in the time."""

    def __init__(self, build: Callable[[Workload, Path, Path], Sequence[str]]) -> None:
        self._build = build

    def process(self, workload: Workload, pictures: Path, out: Path, /) -> Round:
        command = [sys.executable, "-m", *self._build(workload, pictures, out)]
        start = time.perf_counter()
        try:
            ended = subprocess.run(  # noqa: S603 - one of the commands below
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_SECS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError("contestant_failed", f"{' '.join(command)} took over {error.timeout:.0f} s") from error
        seconds = time.perf_counter() - start
        if ended.returncode != 0:
            last_words = ended.stderr[-500:].decode(errors="replace").strip()
            raise BenchError("contestant_failed", f"{' '.join(command)} ended with {ended.returncode}: {last_words}")
        return Round(seconds, _read_files(out, workload.output))


class Server:
    """A contestant that is a running server of this host; timed from the request to the end of the job.

    The end is the one that the server notes, by the same clock, so that asking for it often need not cost it time.
    """

    def __init__(self, client: RestClient, more: Mapping[str, Any] | None = None) -> None:
        """`more` is what every job document says besides."""
        self._client = client
        self._more = dict(more or {})

    def process(self, workload: Workload, pictures: Path, _out: Path, /) -> Round:
        inputs = {"inputs": [{"prefix": f"{pictures.name}/"}], "name": workload.name}
        document = workload.document() | inputs | self._more
        start = time.time()
        job = self._client.post_job(document)["id"]
        ended = self._client.wait(job, poll_secs=JOB_POLL_SECS)
        seconds = datetime.fromisoformat(ended["finished_at"]).timestamp() - start
        if ended["state"] != "succeeded":
            raise BenchError("contestant_failed", f"job {job} of {workload.name} ended as {ended['state']}")
        return Round(seconds, self._take_results(job))

    def _take_results(self, job: str) -> Iterator[tuple[str, bytes]]:
        for entry in self._client.results(job):
            yield entry["name"], self._client.fetch(entry["url"])
        self._client.delete_job(job)


@contextmanager
def enter_server(
    arena: Arena, placement: str, more: Sequence[str] = (), name: str | None = None
) -> Iterator[tuple[RestClient, int]]:
    """Start a server that reads the arena's pictures; yield a connection to it, and its process id.

    Raises:
        UnavailableError: it did not start.
    """
    name = name or f"serve-{placement}"
    options = ["--data", str(arena.work / name), "--placement", placement, "--input-root", str(arena.pictures), *more]
    log = arena.work / f"{name}.log"
    with serve(options, port=find_free_port(), log=log) as (url, process), RestClient(url) as client:
        yield client, process.pid


@contextmanager
def _enter_serving(arena: Arena, placement: str) -> Iterator[Contestant]:
    with enter_server(arena, placement) as (client, _):
        yield Server(client)


Start = Callable[[Arena], AbstractContextManager[Contestant]]

CONTESTANTS: dict[str, Start] = {
    "pool": lambda _: nullcontext(Command(_pool_command)),
    "run": lambda _: nullcontext(Command(_run_command)),
    "serve-fused": lambda arena: _enter_serving(arena, "fused"),
    "serve-per-step": lambda arena: _enter_serving(arena, "per_step"),
}
"""By name, how each one is started: the plain OpenCV pool, which all are compared with, and Penstock's ways."""


def _pool_command(workload: Workload, pictures: Path, out: Path) -> list[str]:
    return ["penstock.benchmark.bench.plain_pool", str(pictures), str(out), workload.output, *workload.options()]


def _run_command(workload: Workload, pictures: Path, out: Path) -> list[str]:
    return ["penstock", "run", str(pictures), *workload.options(), "--output", workload.output, "--out", str(out)]


def _read_files(folder: Path, extension: str) -> Iterator[tuple[str, bytes]]:
    return ((path.name, path.read_bytes()) for path in sorted(folder.rglob(f"*.{extension}")))

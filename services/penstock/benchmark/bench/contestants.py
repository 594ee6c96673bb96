"""Contestants of the benchmark: the plain pool, `penstock run`, and `penstock serve` in both placements."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from penstock.benchmark.bench.one_request import process_by_requests
from penstock.benchmark.bench.other_programs import sharp_command, vips_command
from penstock.benchmark.bench.workloads import WORKLOADS, Workload
from penstock.benchmark.http import RefusedError, RestClient
from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageError, PenstockError, UnavailableError
from penstock.common.model.jobs import TERMINAL_JOB_STATES
from penstock.local.server_process import find_free_port, serve

JOB_POLL_SECS = 0.25
COMMAND_TIMEOUT_SECS = 3_600.0
STALL_SECS = 180.0
"""A benchmark gives up a job of which no image has ended for so long."""
_CANCEL_SECS = 10.0
_CANCEL_POLL_SECS = 0.05


class BenchError(PenstockError):
    """The benchmark cannot give a meaningful figure."""

    exit_code = 1


@dataclass(frozen=True)
class Round:
    """One run of a workload: the seconds that a user waits, and each result's name and content (to be read once)."""

    seconds: float
    results: Iterator[tuple[str, bytes]]


Contestant = Callable[[Workload, Path, Path], Round]
"""Processes a folder of images; may write files to another one, which is empty. Raises BenchError if an image fails."""


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


def _run_command(
    build: Callable[[Workload, Path, Path], Sequence[str]], workload: Workload, inputs: Path, out: Path
) -> Round:
    """Run a command; its start and exit are part of the time."""
    command = build(workload, inputs, out)
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


class Verifier:
    """Compares JPEG files by bytes and PNG files by pixels; remembers equal pairs, because images are repeated."""

    def __init__(self) -> None:
        self._equal: set[tuple[bytes, bytes]] = set()

    def verify(
        self, contestant: str, reference: Path, results: Iterable[tuple[str, bytes]], *, pixels: bool = True
    ) -> None:
        """Check that `results` (name, content) are exactly the files of the folder `reference`.

        Without `pixels`, only their names and sizes are compared.

        Raises:
            BenchError: a file differs, is missing, or is not in the reference.
        """
        missing = {path.name for path in reference.iterdir()}
        for name, content in results:
            if name not in missing:
                raise BenchError("wrong_results", f"{contestant} made {name}, which the pool did not, or made it twice")
            missing.remove(name)
            expected = (reference / name).read_bytes()
            equal = self._are_equal(expected, content, name) if pixels else _have_equal_sizes(expected, content)
            if not equal:
                raise BenchError("wrong_results", f"{name} of {contestant} differs from the pool's")
        if missing:
            raise BenchError("wrong_results", f"{contestant} did not make {min(missing)} and {len(missing) - 1} others")

    def _are_equal(self, expected: bytes, content: bytes, name: str) -> bool:
        if expected == content:
            return True
        if not name.endswith(".png"):
            return False
        pair = (hashlib.blake2b(expected).digest(), hashlib.blake2b(content).digest())
        if pair not in self._equal and _have_equal_pixels(expected, content):
            self._equal.add(pair)
        return pair in self._equal


def _have_equal_pixels(first: bytes, second: bytes) -> bool:
    import cv2
    import numpy as np

    one, other = (cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED) for file in (first, second))
    return one is not None and other is not None and np.array_equal(one, other)


def _have_equal_sizes(first: bytes, second: bytes) -> bool:
    try:
        one, other = read_header(first), read_header(second)
    except ImageError:
        return False
    return (one.width, one.height) == (other.width, other.height)


@contextmanager
def created_job(client: RestClient, workload: Workload, images: Sequence[Path]) -> Iterator[str]:
    """Create a job of uploaded images; cancel it if necessary, and delete it, afterwards."""
    job = str(client.post_job(workload.document() | {"name": f"bench {workload.name}"}, images)["id"])
    try:
        yield job
    finally:
        with suppress(RefusedError, UnavailableError):
            _delete(client, job)


def _delete(client: RestClient, job: str) -> None:
    with suppress(RefusedError):  # the job has ended
        client.send("POST", f"/v1/jobs/{quote(job)}/cancel")
    deadline = time.monotonic() + _CANCEL_SECS
    while client.job(job)["state"] not in TERMINAL_JOB_STATES and time.monotonic() < deadline:
        time.sleep(_CANCEL_POLL_SECS)
    client.delete_job(job)


def wait_for_success(client: RestClient, job: str, poll_secs: float, stall_secs: float = STALL_SECS) -> dict[str, Any]:
    """Return a job when it has succeeded.

    Raises:
        BenchError: it ended otherwise, or no image of it has ended for `stall_secs`.
    """
    ended, changed_at = -1, time.monotonic()

    def check(found: dict[str, Any]) -> None:
        nonlocal ended, changed_at
        before, ended = ended, found["images"]["done"] + found["images"]["failed"]
        if ended != before:
            changed_at = time.monotonic()
        if time.monotonic() - changed_at > stall_secs:
            raise BenchError(
                "standstill", f"no image of job {job} ended for {stall_secs:g} s; GET /v1/steps shows the bottleneck"
            )

    found = client.wait(job, poll_secs=poll_secs, on_progress=check)
    if found["state"] != "succeeded":
        raise BenchError("job_failed", f"job {job} ended as {found['state']}")
    return found


def fetch_results(client: RestClient, job: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each result.

    Raises:
        BenchError: a result differs from its digest in the manifest.
    """
    for entry in client.results(job):
        content = client.fetch(entry["url"])
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise BenchError("wrong_results", f"{entry['name']} of job {job} differs from the manifest's digest")
        yield entry["name"], content


def measure_latency(
    client: RestClient, images: Sequence[Path], warm_up: int, requests: int, poll_secs: float
) -> list[float]:
    """Return the seconds of single images, one after the other, from the request to the last byte of the results."""
    seconds = []
    with ExitStack() as jobs:  # they are deleted at the end, because that would slow down the next image
        for number in range(warm_up + requests):
            start = time.perf_counter()
            image = images[number % len(images)]
            job = jobs.enter_context(created_job(client, WORKLOADS[0], [image]))
            wait_for_success(client, job, poll_secs)
            for _ in fetch_results(client, job):
                pass
            seconds.append(time.perf_counter() - start)
    return seconds[warm_up:]


def process_on_server(
    client: RestClient, extra_fields: Mapping[str, Any], workload: Workload, inputs: Path, _out: Path
) -> Round:
    """Process a folder on a running server of this host, timed from the request to the job's end.

    The end is the server's own timestamp, by the same clock, so that frequent polling is not needed.
    `extra_fields` are added to the job document.
    """
    inputs_and_name = {"inputs": [{"prefix": f"{inputs.name}/"}], "name": workload.name}
    start = time.time()
    job = client.post_job(workload.document() | inputs_and_name | dict(extra_fields))["id"]
    ended = wait_for_success(client, job, JOB_POLL_SECS)
    seconds = datetime.fromisoformat(ended["finished_at"]).timestamp() - start
    return Round(seconds, _fetch_and_delete(client, job))


def _fetch_and_delete(client: RestClient, job: str) -> Iterator[tuple[str, bytes]]:
    yield from fetch_results(client, job)
    client.delete_job(job)


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
        yield partial(process_on_server, client, {})


@contextmanager
def _run_one_request_contestant(workspace: Workspace) -> Iterator[Contestant]:
    def process(workload: Workload, inputs: Path, out: Path) -> Round:
        return Round(process_by_requests(url, workload, inputs, out), _read_files(out, workload.output))

    with run_server(workspace, "fused", name="one-request") as (client, _):
        url = client.url
        yield process


Start = Callable[[Workspace], AbstractContextManager[Contestant]]

CONTESTANTS: dict[str, Start] = {
    "pool": lambda _: nullcontext(partial(_run_command, _pool_command)),
    "run": lambda _: nullcontext(partial(_run_command, _penstock_command)),
    "serve-fused": lambda workspace: _run_contestant(workspace, "fused"),
    "serve-per-step": lambda workspace: _run_contestant(workspace, "per_step"),
    "one-request": _run_one_request_contestant,
}
"""Context managers that run each contestant, by name; all are compared with the plain OpenCV pool."""

OTHER_PROGRAMS: dict[str, Start] = {
    "sharp": lambda _: nullcontext(partial(_run_command, sharp_command)),
    "vips": lambda _: nullcontext(partial(_run_command, vips_command)),
}
"""Contestants that take part where they are installed, in the workloads that they can run."""


_MODULE = (sys.executable, "-m")


def _pool_command(workload: Workload, inputs: Path, out: Path) -> list[str]:
    return [
        *_MODULE,
        "penstock.benchmark.bench.plain_pool",
        str(inputs),
        str(out),
        workload.output,
        *workload.options(),
    ]


def _penstock_command(workload: Workload, inputs: Path, out: Path) -> list[str]:
    decode = [] if workload.decode == "exact" else ["--decode", workload.decode]
    options = [*workload.options(), *decode, "--output", workload.output, "--out", str(out)]
    return [*_MODULE, "penstock", "run", str(inputs), *options]


def _read_files(folder: Path, extension: str) -> Iterator[tuple[str, bytes]]:
    return ((path.name, path.read_bytes()) for path in sorted(folder.rglob(f"*.{extension}")))

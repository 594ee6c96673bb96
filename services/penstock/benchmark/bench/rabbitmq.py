"""Contestants over RabbitMQ: both placements with three chunk sizes, and the CPU cost of a hop between steps.

Both placements use the same queues, so only one server runs at a time.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from penstock.benchmark.bench.contestants import Contestant, Round, Start, Workspace, process_on_server, run_server
from penstock.benchmark.bench.workloads import ImageFolders, Workload
from penstock.benchmark.http import RestClient
from penstock.common.model.errors import PenstockError

PLACEMENTS = ("fused", "per_step")
CHUNK_SIZES: tuple[int | str, ...] = (1, "auto", 8)
_HOP_IMAGES = 1_600
_HOP_SIDE = 16
_LAPS = (1, 8)
"""How often an image passes through two steps; the difference in cost is that of the hops."""


def _run_broker_server(
    broker_url: str, workspace: Workspace, placement: str
) -> AbstractContextManager[tuple[RestClient, int]]:
    return run_server(workspace, placement, ["--broker", broker_url], f"broker-{placement}")


class BrokerServer:
    """The server that currently runs over the broker."""

    def __init__(self, broker_url: str, workspace: Workspace) -> None:
        self._broker_url = broker_url
        self._workspace = workspace
        self._placement = ""
        self._server: tuple[RestClient, int] | None = None
        self._stack = ExitStack()

    def start(self, placement: str) -> tuple[RestClient, int]:
        """Return a client of the server of a placement, and its process id; stop the other placement's server."""
        if self._server is None or self._placement != placement:
            self.close()
            context = _run_broker_server(self._broker_url, self._workspace, placement)
            self._server, self._placement = self._stack.enter_context(context), placement
        return self._server

    def close(self) -> None:
        """Stop the running server."""
        self._server = None
        self._stack.close()


def broker_contestants(broker_url: str) -> dict[str, Start]:
    """Return the contestants over a broker by name, ordered so that servers change as rarely as possible."""
    servers: dict[Workspace, BrokerServer] = {}

    @contextmanager
    def enter(placement: str, chunk_size: int | str, workspace: Workspace) -> Iterator[Contestant]:
        server = servers.setdefault(workspace, BrokerServer(broker_url, workspace))

        def process(workload: Workload, inputs: Path, out: Path) -> Round:
            client, _ = server.start(placement)
            return process_on_server(client, {"chunk_size": chunk_size}, workload, inputs, out)

        try:
            yield process
        finally:
            server.close()

    return {
        f"broker-{placement.replace('_', '-')}-{size}": partial(enter, placement, size)
        for placement in PLACEMENTS
        for size in CHUNK_SIZES
    }


def measure_hops(broker_url: str, workspace: Workspace, folders: ImageFolders) -> dict[str, float]:
    """Return the CPU seconds of all Penstock processes per hop and image, by chunk size; without RabbitMQ's.

    Raises:
        PenstockError: this system has no `/proc`.
    """
    if not Path("/proc/self/stat").exists():
        raise PenstockError("no_proc", "the cost of hops is read from /proc, which this system does not have")
    inputs = folders.folder(Workload("tiny", (_HOP_SIDE, _HOP_SIDE), (), "jpg", _HOP_IMAGES), _HOP_IMAGES)
    with _run_broker_server(broker_url, workspace, "per_step") as (client, pid):
        return {f"{size}": _hop_secs(client, pid, inputs, size) for size in CHUNK_SIZES if size != "auto"}


def _hop_secs(client: RestClient, pid: int, inputs: Path, chunk_size: int | str) -> float:
    secs = [_cpu_secs_of_job(client, pid, laps, inputs, chunk_size) for laps in _LAPS]
    hops = 2 * (_LAPS[1] - _LAPS[0])
    return (secs[1] - secs[0]) / hops / _HOP_IMAGES


def _cpu_secs_of_job(client: RestClient, pid: int, laps: int, inputs: Path, chunk_size: int | str) -> float:
    operations = (("resize", f"{_HOP_SIDE}x{_HOP_SIDE}"), ("blur", "median")) * laps
    before = cpu_secs(pid)
    workload = Workload("hops", (_HOP_SIDE, _HOP_SIDE), operations, "jpg", 0)
    done = process_on_server(client, {"chunk_size": chunk_size}, workload, inputs, inputs)
    spent = cpu_secs(pid) - before
    for _ in done.results:
        pass
    return spent


def cpu_secs(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, including those that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # the process has ended
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_secs(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            children += map(int, thread.read_text().split())
    return children

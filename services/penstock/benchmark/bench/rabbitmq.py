"""Penstock over RabbitMQ in the benchmark: both placements, three chunk sizes, and what a hop costs.

Both placements serve the same queues, so one server runs at a time and gives way to the other's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from penstock.benchmark.bench.contestants import Arena, Contestant, Round, Server, Start, enter_server
from penstock.benchmark.bench.workloads import Workload
from penstock.benchmark.http import RestClient
from penstock.common.model.errors import PenstockError

PLACEMENTS = ("fused", "per_step")
CHUNK_SIZES: tuple[int | str, ...] = (1, "auto", 8)
HOP_PICTURES = 1_600
HOP_SIDE = 16
_LAPS = (1, 8)
"""How often the picture goes through two steps: what more laps cost more is what their hops cost."""


class Stage:
    """The one server that runs over a broker just now."""

    def __init__(self, broker_url: str, arena: Arena) -> None:
        self._broker_url = broker_url
        self._arena = arena
        self._placement = ""
        self._server: tuple[RestClient, int] | None = None
        self._stack = ExitStack()

    def give(self, placement: str) -> tuple[RestClient, int]:
        """Return a connection to the server of a placement, and its process id; the other one's server ends first."""
        if self._server is None or self._placement != placement:
            self.close()
            entered = enter_server(self._arena, placement, ["--broker", self._broker_url], f"broker-{placement}")
            self._server, self._placement = self._stack.enter_context(entered), placement
        return self._server

    def close(self) -> None:
        """End the server that runs."""
        self._server = None
        self._stack.close()


class OverBroker:
    """A contestant: one placement, one chunk size."""

    def __init__(self, stage: Stage, placement: str, chunk_size: int | str) -> None:
        self._stage = stage
        self._placement = placement
        self._chunk_size = chunk_size

    def process(self, workload: Workload, pictures: Path, out: Path, /) -> Round:
        client, _ = self._stage.give(self._placement)
        return Server(client, {"chunk_size": self._chunk_size}).process(workload, pictures, out)


def broker_contestants(broker_url: str) -> dict[str, Start]:
    """Return the contestants over a broker by name, in the order in which servers have to change least."""
    stages: dict[Arena, Stage] = {}

    @contextmanager
    def enter(placement: str, chunk_size: int | str, arena: Arena) -> Iterator[Contestant]:
        stage = stages.setdefault(arena, Stage(broker_url, arena))
        try:
            yield OverBroker(stage, placement, chunk_size)
        finally:
            stage.close()

    return {
        f"broker-{placement.replace('_', '-')}-{size}": partial(enter, placement, size)
        for placement in PLACEMENTS
        for size in CHUNK_SIZES
    }


def measure_hops(broker_url: str, arena: Arena, pictures: Path) -> dict[str, float]:
    """Return the CPU seconds of all of Penstock's processes a hop and image, by chunk size.

    `pictures` is a folder below the arena's that holds `HOP_PICTURES` tiny ones. RabbitMQ's own time is not in it.

    Raises:
        PenstockError: this system doesn't tell of processes as Linux does.
    """
    if not Path("/proc/self/stat").exists():
        raise PenstockError("no_proc", "the cost of hops is read from /proc, which this system doesn't have")
    stage = Stage(broker_url, arena)
    try:
        client, pid = stage.give("per_step")
        return {f"{size}": _hop_secs(client, pid, pictures, size) for size in CHUNK_SIZES if size != "auto"}
    finally:
        stage.close()


def _hop_secs(client: RestClient, pid: int, pictures: Path, chunk_size: int | str) -> float:
    secs = [_cpu_secs_of_job(client, pid, _laps(laps), pictures, chunk_size) for laps in _LAPS]
    hops = 2 * (_LAPS[1] - _LAPS[0])
    return (secs[1] - secs[0]) / hops / HOP_PICTURES


def _laps(laps: int) -> Workload:
    return Workload("hops", HOP_SIDE, (("resize", f"{HOP_SIDE}x{HOP_SIDE}"), ("blur", "median")) * laps, "jpg", 0)


def _cpu_secs_of_job(client: RestClient, pid: int, workload: Workload, pictures: Path, chunk_size: int | str) -> float:
    contestant = Server(client, {"chunk_size": chunk_size})
    before = cpu_secs(pid)
    done = contestant.process(workload, pictures, pictures)
    spent = cpu_secs(pid) - before
    for _ in done.results:
        pass
    return spent


def cpu_secs(pid: int) -> float:
    """Return the CPU time of a process and all below it, those that have ended included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_secs(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # as do threads
            children += map(int, thread.read_text().split())
    return children

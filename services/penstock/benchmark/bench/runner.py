"""Benchmark runner: `penstock bench` compares Penstock with a plain OpenCV pool on the same cores.

Contestants alternate in each round, so that changes in the machine's speed affect all of them. All results of all
rounds are compared with the pool's.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from penstock.benchmark.bench.contestants import (
    CONTESTANTS,
    OTHER_PROGRAMS,
    Contestant,
    Start,
    Verifier,
    Workspace,
    measure_latency,
    run_server,
)
from penstock.benchmark.bench.one_request import measure_calls
from penstock.benchmark.bench.other_programs import can_run, other_programs
from penstock.benchmark.bench.rabbitmq import broker_contestants, measure_hops
from penstock.benchmark.bench.report import Figures, show_json, show_tables
from penstock.benchmark.bench.workloads import WORKLOADS, ImageFolders, Workload, choose, choose_workloads

BASELINE = "pool"
WARM_UP_IMAGES = 16
LATENCY_REQUESTS = 60
LATENCY_WARM_UP = 10
LATENCY_POLL_SECS = 0.002


def run_bench(
    *,
    images: int | None = None,
    rounds: int = 3,
    photos: Path | None = None,
    workloads: Sequence[str] = (),
    contestants: Sequence[str] = (),
    latency: bool = True,
    broker: str | None = None,
    as_json: bool = False,
) -> None:
    """Measure, and print tables or JSON to standard output, progress to standard error.

    Args:
        images: images per workload; None takes each workload's own number.
        rounds: how often each contestant runs each workload, 1 or more.
        photos: a folder of images to scale; None draws sample images.
        workloads: names from `WORKLOADS`; none means all.
        contestants: names from `CONTESTANTS` and `broker_contestants`; none means all. The pool always takes part.
        latency: whether to measure single images on an idle server as well.
        broker: the URL of a RabbitMQ for further contestants; nothing else may use its queues.
        as_json: print one JSON object instead of tables.

    Raises:
        BenchError: a contestant failed, or its results differ from the pool's.
        PenstockError: a name is unknown, `photos` contains no image, or a server does not start.
    """
    chosen = choose_workloads(workloads)
    others = {name: OTHER_PROGRAMS[name] for name in other_programs()}
    starts = CONTESTANTS | others | (broker_contestants(broker) if broker else {})
    names = choose("contestant", list(starts), contestants, always=[BASELINE])
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        workspace = Workspace.create(Path(folder))
        folders = ImageFolders(workspace.images, photos)
        runner = Runner(workspace, folders, images, rounds)
        figures = runner.run(chosen, {name: starts[name] for name in names})
        latencies, calls = _measure_latencies(workspace, folders) if latency else ([], [])
        hops = measure_hops(broker, workspace, folders) if broker else {}
    show = show_json if as_json else show_tables
    click.echo(show(figures, latencies, hops, calls))


@dataclass(frozen=True)
class Runner:
    """Runs all rounds of all workloads in one workspace."""

    workspace: Workspace
    folders: ImageFolders
    images: int | None
    rounds: int

    def run(self, workloads: Sequence[Workload], starts: Mapping[str, Start]) -> list[Figures]:
        """Start each contestant once and run every workload."""
        with ExitStack() as stack:
            contestants = {name: stack.enter_context(start(self.workspace)) for name, start in starts.items()}
            return [self._measure(workload, _able(contestants, workload)) for workload in workloads]

    def _measure(self, workload: Workload, contestants: Mapping[str, Contestant]) -> Figures:
        images = self.images or workload.images
        figures = Figures(workload, images, BASELINE)
        verifier = Verifier()
        self._run_round(workload, contestants, self.folders.folder(workload, min(images, WARM_UP_IMAGES)), verifier)
        folder = self.folders.folder(workload, images)
        for number in range(1, self.rounds + 1):
            for name, seconds in self._run_round(workload, contestants, folder, verifier).items():
                figures.seconds.setdefault(name, []).append(seconds)
            rates = ", ".join(f"{name} {images / times[-1]:.1f}/s" for name, times in figures.seconds.items())
            click.echo(f"{workload.name} round {number} of {self.rounds}: {rates}", err=True)
        return figures

    def _run_round(
        self, workload: Workload, contestants: Mapping[str, Contestant], inputs: Path, verifier: Verifier
    ) -> dict[str, float]:
        seconds = {}
        with self._new_folder() as reference:
            for name, contestant in contestants.items():
                if name == BASELINE:
                    seconds[name] = contestant(workload, inputs, Path(reference)).seconds
                    continue
                with self._new_folder() as out:
                    done = contestant(workload, inputs, Path(out))
                    pixels = workload.has_same_pixels and name not in OTHER_PROGRAMS
                    verifier.verify(name, Path(reference), done.results, pixels=pixels)
                seconds[name] = done.seconds
        return seconds

    def _new_folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(dir=self.workspace.work)


def _able(contestants: Mapping[str, Contestant], workload: Workload) -> dict[str, Contestant]:
    """Return the contestants that can run a workload."""
    return {name: each for name, each in contestants.items() if name not in OTHER_PROGRAMS or can_run(workload)}


def _measure_latencies(workspace: Workspace, folders: ImageFolders) -> tuple[list[float], list[float]]:
    """Return the seconds of single images by a job each, and by one request each."""
    images = folders.distinct(WORKLOADS[0].size)
    with run_server(workspace, "fused") as (client, _):
        calls = measure_calls(client, WORKLOADS[0], images, LATENCY_WARM_UP, LATENCY_REQUESTS)
        return measure_latency(client, images, LATENCY_WARM_UP, LATENCY_REQUESTS, LATENCY_POLL_SECS), calls

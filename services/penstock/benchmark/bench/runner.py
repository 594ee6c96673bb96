"""`penstock bench`: Penstock against a plain OpenCV pool, in one run on the same cores.

Contestants take turns in every round, so that a machine that gets slower or faster meanwhile does so for all of
them. Every result of every round is compared with the pool's: a figure for wrong pictures is worth nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from penstock.benchmark.bench.contestants import CONTESTANTS, Arena, BenchError, Contestant, Start, enter_server
from penstock.benchmark.bench.rabbitmq import HOP_PICTURES, HOP_SIDE, broker_contestants, measure_hops
from penstock.benchmark.bench.report import Figures, show_json, show_tables
from penstock.benchmark.bench.verify import Verifier
from penstock.benchmark.bench.workloads import WORKLOADS, Pictures, Workload, choose, choose_workloads
from penstock.benchmark.http import RestClient

BASELINE = "pool"
WARM_UP_PICTURES = 16
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
) -> int:
    """Measure, and print tables (or JSON) to standard output; progress goes to standard error.

    Args:
        images: pictures per workload; None takes each workload's own number.
        rounds: how often each contestant does each workload, 1 or more.
        photos: a folder of photographs to scale; None draws pictures.
        workloads: names out of `WORKLOADS`; none means all.
        contestants: names out of `CONTESTANTS` (and `broker_contestants`); none means all. The pool always takes part.
        latency: whether to send single pictures through an idle server too.
        broker: the URL of a RabbitMQ over which Penstock takes part as well, on queues that nobody else uses.
        as_json: print one JSON object instead of tables.

    Returns:
        0, or 1 where a contestant failed or made other pictures than the pool.

    Raises:
        PenstockError: a name that is not known, no photograph in `photos`, or a server that doesn't start.
    """
    chosen = choose_workloads(workloads)
    starts = CONTESTANTS | (broker_contestants(broker) if broker else {})
    names = choose("contestant", list(starts), contestants, always=[BASELINE])
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        arena = _make_arena(Path(folder))
        race = Race(arena, Pictures(arena.pictures, photos), images, rounds)
        try:
            figures = race.run(chosen, {name: starts[name] for name in names})
            latencies = race.measure_latency() if latency else []
            hops = race.measure_hops(broker) if broker else {}
        except BenchError as error:
            click.echo(f"bench: {error.message}", err=True)
            return 1
    show = show_json if as_json else show_tables
    click.echo(show(figures, latencies, hops))
    return 0


def _make_arena(folder: Path) -> Arena:
    arena = Arena(folder / "pictures", folder / "work")
    arena.pictures.mkdir()
    arena.work.mkdir()
    return arena


@dataclass(frozen=True)
class Race:
    """All rounds of all workloads, in one arena."""

    arena: Arena
    pictures: Pictures
    images: int | None
    rounds: int

    def run(self, workloads: Sequence[Workload], starts: Mapping[str, Start]) -> list[Figures]:
        """Start the contestants, once each, and let them do every workload."""
        with ExitStack() as stack:
            racing = {name: stack.enter_context(start(self.arena)) for name, start in starts.items()}
            return [self._measure(workload, racing) for workload in workloads]

    def measure_latency(self) -> list[float]:
        """Return the seconds of single pictures, from the request to the last result's bytes, on an idle server."""
        photos = self.pictures.distinct(WORKLOADS[0].side)
        with enter_server(self.arena, "fused") as (client, _):
            seconds = [
                _time_one(client, WORKLOADS[0], photos[number % len(photos)])
                for number in range(LATENCY_WARM_UP + LATENCY_REQUESTS)
            ]
        return seconds[LATENCY_WARM_UP:]

    def measure_hops(self, broker: str) -> dict[str, float]:
        """Return the CPU seconds that a hop over the broker costs an image, by chunk size."""
        tiny = Workload("tiny", HOP_SIDE, (), "jpg", HOP_PICTURES)
        return measure_hops(broker, self.arena, self.pictures.folder(tiny, HOP_PICTURES))

    def _measure(self, workload: Workload, racing: Mapping[str, Contestant]) -> Figures:
        images = self.images or workload.images
        figures = Figures(workload, images, BASELINE)
        verifier = Verifier()
        self._do_round(workload, racing, self.pictures.folder(workload, min(images, WARM_UP_PICTURES)), verifier)
        folder = self.pictures.folder(workload, images)
        for number in range(1, self.rounds + 1):
            for name, seconds in self._do_round(workload, racing, folder, verifier).items():
                figures.seconds.setdefault(name, []).append(seconds)
            rates = ", ".join(f"{name} {images / times[-1]:.1f}/s" for name, times in figures.seconds.items())
            click.echo(f"{workload.name} round {number} of {self.rounds}: {rates}", err=True)
        return figures

    def _do_round(
        self, workload: Workload, racing: Mapping[str, Contestant], pictures: Path, verifier: Verifier
    ) -> dict[str, float]:
        seconds = {}
        with self._new_folder() as reference:
            for name, contestant in racing.items():
                if name == BASELINE:
                    seconds[name] = contestant.process(workload, pictures, Path(reference)).seconds
                    continue
                with self._new_folder() as out:
                    done = contestant.process(workload, pictures, Path(out))
                    verifier.verify(name, Path(reference), done.results)
                seconds[name] = done.seconds
        return seconds

    def _new_folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(dir=self.arena.work)


def _time_one(client: RestClient, workload: Workload, photo: Path) -> float:
    start = time.perf_counter()
    job = client.post_job(workload.document(), [photo])["id"]
    ended = client.wait(job, poll_secs=LATENCY_POLL_SECS)
    if ended["state"] != "succeeded":
        raise BenchError("contestant_failed", f"job {job} of one picture ended as {ended['state']}")
    for entry in client.results(job):
        client.fetch(entry["url"])
    return time.perf_counter() - start

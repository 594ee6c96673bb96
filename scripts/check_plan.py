"""Check `penstock plan`: predict three plans, run each by `penstock run` and `penstock serve`, and compare.

    python scripts/check_plan.py --photos FOLDER --rounds 3

Measuring and both ways of running alternate, because a machine's speed changes by the minute. Predictions assume cores
without other load: where other programs use them, only the share of the time that they left counts.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click
from cpu_time import CpuWatch, adopt_orphans

from penstock.benchmark.bench.contestants import CONTESTANTS, BenchError, Contestant, Workspace
from penstock.benchmark.bench.report import align
from penstock.benchmark.bench.workloads import Workload
from penstock.benchmark.plan.estimate import SAMPLE_IMAGES, pick_images
from penstock.benchmark.plan.measure import Measured, measure
from penstock.benchmark.plan.prediction import Estimate, Overheads, Visit, cost_image, use_cores
from penstock.common.model.errors import PenstockError
from penstock.common.model.operations import Encode
from penstock.common.model.plan import make_plan
from penstock.common.settings import Limits, load
from penstock.local.run import default_workers
from penstock.local.sample_images import write_images

DURATION_SECS = 6.0
"""Predicted duration of each run: whole passes over the images, at least one."""
TOLERANCE = 0.25
WARM_UP_IMAGES = 8
SAMPLE_SIZE = (1024, 768)
PLANS = (
    ("resize-gaussian-jpg", (("resize", "512x512"), ("blur", "gaussian")), "jpg"),
    ("split-median-png", (("split", True), ("blur", "median")), "png"),
    ("bilateral-jpg", (("blur", "bilateral"),), "jpg"),
)
START_SECS = {"run": 0.35, "serve-fused": 0.0}
"""The time of `penstock run` includes its start; a server is started beforehand."""
OVERHEADS = {"run": Overheads(coordinator=0.000_15), "serve-fused": Overheads()}


@dataclass
class Comparison:
    """Predicted and measured seconds of each round of one plan, run in one way."""

    plan: str
    way: str
    images: int
    predicted: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """Share of the cores that other programs left, 0 to 1."""
    cpu_ratios: list[float] = field(default_factory=list)
    """Measured CPU seconds over predicted ones."""

    @property
    def ratio(self) -> float:
        """Measured seconds, on cores without other load, over predicted ones; of the median round."""
        rounds = zip(self.measured, self.shares, self.predicted, strict=True)
        return median(measured * share / predicted for measured, share, predicted in rounds)

    @property
    def is_close(self) -> bool:
        """Whether the prediction is within the tolerance."""
        return abs(self.ratio - 1) <= TOLERANCE


class Check:
    """Runs plans in each way, in one folder."""

    def __init__(self, folder: Path, photos: Path | None, secs: float, duration_secs: float = DURATION_SECS) -> None:
        self._workspace = Workspace.create(folder)
        self._images = _copy_images(folder / "originals", photos)
        self._secs = secs
        self._duration_secs = duration_secs
        self._limits = load(Limits)
        self._cores = default_workers()

    def run(self, rounds: int, plans: Sequence[tuple[str, Any, str]] = PLANS) -> list[Comparison]:
        """Compare each plan in each way, `rounds` times."""
        compared: dict[tuple[str, str], Comparison] = {}
        with ExitStack() as stack:
            contestants = {name: stack.enter_context(CONTESTANTS[name](self._workspace)) for name in START_SECS}
            for each in contestants.values():  # a server's workers load their libraries with the first images
                self._run(each, Workload("warm-up", 0, (("blur", "median"),), "jpg", 0), WARM_UP_IMAGES)
            for number in range(1, rounds + 1):
                for name, operations, output in plans:
                    self._compare(Workload(name, 0, operations, output, 0), contestants, compared)
                    found = [f"{way} {compared[name, way].ratio:.2f}" for way in contestants]
                    click.echo(f"{name} round {number} of {rounds}: {', '.join(found)}", err=True)
        return list(compared.values())

    def _compare(
        self, workload: Workload, contestants: Mapping[str, Contestant], compared: dict[tuple[str, str], Comparison]
    ) -> None:
        for way, contestant in contestants.items():
            visits = self._measure(workload).visits
            known = compared.get((workload.name, way))
            images = known.images if known else self._count(visits)
            each = compared.setdefault((workload.name, way), Comparison(workload.name, way, images))
            estimate = self._predict(visits, images, way)
            secs, cpu_secs, share = self._run(contestant, workload, images)
            each.predicted.append(estimate.secs)
            each.measured.append(secs)
            each.shares.append(share)
            each.cpu_ratios.append(cpu_secs / estimate.cpu_secs)

    def _measure(self, workload: Workload) -> Measured:
        plan = make_plan(workload.document()["operations"], Encode(format=workload.output), self._limits)
        return measure(plan, self._images, self._cores, self._secs, self._limits)

    def _count(self, visits: Sequence[Visit]) -> int:
        secs = cost_image(visits, "fused", broker=False).secs / self._cores
        return len(self._images) * math.ceil(self._duration_secs / secs / len(self._images))

    def _predict(self, visits: Sequence[Visit], images: int, way: str) -> Estimate:
        cost = cost_image(visits, "fused", broker=False, overheads=OVERHEADS[way])
        return use_cores(cost, images, self._cores, START_SECS[way])

    def _run(self, contestant: Contestant, workload: Workload, images: int) -> tuple[float, float, float]:
        """Return seconds, CPU seconds, and the share of the cores that other programs left."""
        inputs = self._link(images)
        with tempfile.TemporaryDirectory(dir=self._workspace.work) as out:
            watch = CpuWatch()
            done = contestant(workload, inputs, Path(out))
            _, cpu_secs, share = watch.read()
            results = sum(1 for _ in done.results)
        if results < images:
            raise BenchError("contestant_failed", f"{results} results of {images} images by {workload.name}")
        return done.seconds, cpu_secs, share

    def _link(self, count: int) -> Path:
        """Return a folder of `count` links to the images, each as often as any other."""
        folder = self._workspace.images / f"all-{count}"
        if not folder.exists():
            folder.mkdir()
            for index in range(count):
                image = self._images[index % len(self._images)]
                os.link(image, folder / f"{index:06d}{image.suffix}")
        return folder


def _copy_images(folder: Path, photos: Path | None) -> list[Path]:
    """Return images on the file system of `folder`, so that hard links to them are possible."""
    if photos is None:
        return write_images(folder, SAMPLE_IMAGES, *SAMPLE_SIZE)
    folder.mkdir()
    return [
        Path(shutil.copyfile(image, folder / f"{index:03d}{image.suffix}"))
        for index, image in enumerate(pick_images(photos))
    ]


def show_table(compared: Sequence[Comparison]) -> str:
    """Return the comparisons as a table."""
    rows = [["plan", "way", "images", "predicted", "measured", "ratio", "CPU ratio", "free cores"]]
    rows += [
        [
            each.plan,
            each.way,
            str(each.images),
            f"{median(each.predicted):.2f} s",
            f"{median(each.measured):.2f} s",
            f"{each.ratio:.2f}{'' if each.is_close else ' (!)'}",
            f"{median(each.cpu_ratios):.2f}",
            f"{median(each.shares):.0%}",
        ]
        for each in compared
    ]
    close = sum(each.is_close for each in compared)
    return "\n".join([*align(rows), "", f"{close} of {len(compared)} within {TOLERANCE:.0%}; medians of rounds."])


def show_json(compared: Sequence[Comparison]) -> str:
    """Return the comparisons as one JSON object."""
    plans = [vars(each) | {"ratio": each.ratio, "close": each.is_close} for each in compared]
    return json.dumps({"within": TOLERANCE, "plans": plans}, indent=2)


@click.command()
@click.option("--photos", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Folder of photographs.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds per plan and way.")
@click.option("--secs", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="How long to measure.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
def main(photos: Path | None, rounds: int, secs: float, as_json: bool) -> None:
    """Exit with 0 if each plan took as long as predicted, within a quarter; with 1 otherwise."""
    adopt_orphans()  # the workers of `penstock run` outlive the process that starts them
    with tempfile.TemporaryDirectory(prefix="penstock-plan-") as folder:
        try:
            compared = Check(Path(folder), photos, secs).run(rounds)
        except PenstockError as error:
            click.echo(f"check_plan: {error.message}", err=True)
            sys.exit(1)
    click.echo(show_json(compared) if as_json else show_table(compared))
    sys.exit(0 if all(each.is_close for each in compared) else 1)


if __name__ == "__main__":
    main()

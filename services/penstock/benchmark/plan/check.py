"""`penstock plan --check`: predicts three plans on this host, does them, and says how far the prediction was off.

Measuring, `penstock run` and `penstock serve` take turns, because a machine changes from one minute to the next. What
is foretold is for cores of one's own: where other programs use them, only that share of the time counts that they left.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click

from penstock.benchmark.bench.contestants import CONTESTANTS, Arena, BenchError, Contestant
from penstock.benchmark.bench.report import align
from penstock.benchmark.bench.workloads import Workload
from penstock.benchmark.cpu_time import Watch, adopt_orphans
from penstock.benchmark.plan.estimate import DRAWN_PICTURES, pick_photos, read_plan
from penstock.benchmark.plan.measure import Measured, measure
from penstock.benchmark.plan.prediction import Estimate, Overheads, Visit, cost_image, use_cores
from penstock.common.settings import Limits, load
from penstock.local.run import default_workers

LENGTH_SECS = 6.0
"""How long each plan is to take, as far as is foretold: whole passes over the photographs, and one at least."""
WITHIN = 0.25
WARM_UP_PICTURES = 8
DRAWN_SIZE = (1024, 768)
PLANS = (
    ("resize-gaussian-jpg", (("resize", "512x512"), ("blur", "gaussian")), "jpg"),
    ("split-median-png", (("split", True), ("blur", "median")), "png"),
    ("bilateral-jpg", (("blur", "bilateral"),), "jpg"),
)
START_SECS = {"run": 0.35, "serve-fused": 0.0}
"""`penstock run` starts within its time, a server beforehand."""
OVERHEADS = {"run": Overheads(coordinator=0.000_15), "serve-fused": Overheads()}


@dataclass
class Comparison:
    """One plan, done in one way: seconds foretold and measured, in every round."""

    plan: str
    way: str
    images: int
    predicted: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """Of the cores, what others left while it was done, 0 to 1."""
    cpu_ratios: list[float] = field(default_factory=list)
    """CPU seconds, measured over foretold."""

    @property
    def ratio(self) -> float:
        """Measured over foretold seconds of cores of one's own, by the median round; 1 is as foretold."""
        rounds = zip(self.measured, self.shares, self.predicted, strict=True)
        return median(measured * share / predicted for measured, share, predicted in rounds)

    @property
    def is_close(self) -> bool:
        """Whether it is off by a quarter at most."""
        return abs(self.ratio - 1) <= WITHIN


def run_check(photos: Path | None, rounds: int, secs: float, *, as_json: bool = False) -> int:
    """Compare, and print a table (or JSON) to standard output; progress goes to standard error.

    Args:
        photos: a folder of photographs; None draws pictures.
        rounds: how often each plan is foretold and done in each way.
        secs: how long to measure.
        as_json: print one JSON object instead of a table.

    Returns:
        0 where every plan took what was foretold, within a quarter; 1 otherwise, or where one failed.

    Raises:
        PenstockError: no photograph in `photos`, or a server that doesn't start.
    """
    adopt_orphans()  # whoever starts the workers of `penstock run` outlives it
    with tempfile.TemporaryDirectory(prefix="penstock-plan-") as folder:
        try:
            compared = Check(Path(folder), photos, secs).run(rounds)
        except BenchError as error:
            click.echo(f"plan: {error.message}", err=True)
            return 1
    click.echo(_show_json(compared) if as_json else _show(compared))
    return 0 if all(each.is_close for each in compared) else 1


class Check:
    """All plans in all ways, in one folder."""

    def __init__(self, folder: Path, photos: Path | None, secs: float, length_secs: float = LENGTH_SECS) -> None:
        self._arena = Arena(folder / "pictures", folder / "work")
        self._arena.pictures.mkdir()
        self._arena.work.mkdir()
        self._photos = _copy_photos(folder / "photos", photos)
        self._secs = secs
        self._length_secs = length_secs
        self._limits = load(Limits)
        self._cores = default_workers()

    def run(self, rounds: int, plans: Sequence[tuple[str, Any, str]] = PLANS) -> list[Comparison]:
        """Compare, so many times."""
        compared: dict[tuple[str, str], Comparison] = {}
        with ExitStack() as stack:
            racing = {name: stack.enter_context(CONTESTANTS[name](self._arena)) for name in START_SECS}
            for each in racing.values():  # a server's workers load their libraries with its first images
                self._do(each, Workload("warm-up", 0, (("blur", "median"),), "jpg", 0), WARM_UP_PICTURES)
            for number in range(1, rounds + 1):
                for name, operations, output in plans:
                    workload = Workload(name, 0, operations, output, 0)
                    self._compare(workload, racing, compared)
                    found = [f"{way} {compared[name, way].ratio:.2f}" for way in racing]
                    click.echo(f"{name} round {number} of {rounds}: {', '.join(found)}", err=True)
        return list(compared.values())

    def _compare(
        self, workload: Workload, racing: Mapping[str, Contestant], compared: dict[tuple[str, str], Comparison]
    ) -> None:
        for way, contestant in racing.items():
            measured = self._measure(workload)
            known = compared.get((workload.name, way))
            images = known.images if known else self._count(measured.visits)
            each = compared.setdefault((workload.name, way), Comparison(workload.name, way, images))
            estimate = self._predict(measured.visits, images, way)
            secs, spent, share = self._do(contestant, workload, images)
            each.predicted.append(estimate.secs)
            each.measured.append(secs)
            each.shares.append(share)
            each.cpu_ratios.append(spent / estimate.cpu_secs)

    def _measure(self, workload: Workload) -> Measured:
        ops = [option.removeprefix("--op=") for option in workload.options()]
        plan = read_plan(ops, {"format": workload.output}, self._limits)
        return measure(plan, self._photos, self._cores, self._secs, self._limits)

    def _count(self, visits: Sequence[Visit]) -> int:
        secs = cost_image(visits, "fused", broker=False).secs / self._cores
        return len(self._photos) * math.ceil(self._length_secs / secs / len(self._photos))

    def _predict(self, visits: Sequence[Visit], images: int, way: str) -> Estimate:
        cost = cost_image(visits, "fused", broker=False, overheads=OVERHEADS[way])
        return use_cores(cost, images, self._cores, START_SECS[way])

    def _do(self, contestant: Contestant, workload: Workload, images: int) -> tuple[float, float, float]:
        """Return the seconds that it took, the CPU seconds, and the share of the cores that was to be had."""
        pictures = self._link(images)
        with tempfile.TemporaryDirectory(dir=self._arena.work) as out:
            watch = Watch()
            done = contestant.process(workload, pictures, Path(out))
            _, spent, share = watch.read()
            results = sum(1 for _ in done.results)
        if results < images:
            raise BenchError("contestant_failed", f"{results} results of {images} images by {workload.name}")
        return done.seconds, spent, share

    def _link(self, images: int) -> Path:
        """Return a folder of so many pictures, each photograph as often as any other."""
        folder = self._arena.pictures / f"all-{images}"
        if not folder.exists():
            folder.mkdir()
            for index in range(images):
                photo = self._photos[index % len(self._photos)]
                os.link(photo, folder / f"{index:06d}{photo.suffix}")
        return folder


def _copy_photos(folder: Path, photos: Path | None) -> list[Path]:
    """Return pictures that lie where links to them can be made."""
    if photos is None:
        from penstock.local.sample_images import write_images

        return write_images(folder, DRAWN_PICTURES, *DRAWN_SIZE)
    folder.mkdir()
    return [
        Path(shutil.copyfile(photo, folder / f"{index:03d}{photo.suffix}"))
        for index, photo in enumerate(pick_photos(photos))
    ]


def _show(compared: Sequence[Comparison]) -> str:
    rows = [["plan", "way", "images", "foretold", "measured", "ratio", "of CPU", "cores to be had"]]
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
    return "\n".join([*align(rows), "", f"{close} of {len(compared)} within {WITHIN:.0%}; medians of rounds."])


def _show_json(compared: Sequence[Comparison]) -> str:
    return json.dumps(
        {"within": WITHIN, "plans": [vars(each) | {"ratio": each.ratio, "close": each.is_close} for each in compared]},
        indent=2,
    )

"""What a job will take: replicas, time, CPU and money, from the seconds that one image takes in each step.

Arithmetic alone. Workers of a step are a stage; images flow through the stages, so a job takes as long as its slowest
stage, and what the first image needs to get through. Seconds are CPU seconds of one core, and a replica has one core.
What lies around the steps was measured (docs/plan.md) and is in `Overheads`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from penstock.common.model.chunking import fit_chunk
from penstock.common.model.errors import PenstockError

Placement = Literal["fused", "per_step"]
BYTES_PER_PIXEL = 3
AUTO = "auto"
FUSED = "all steps"
"""What the one stage of fused workers is called."""
RESERVE = 0.1
"""Share of a deadline that is kept for what nobody planned."""


class PlanningError(PenstockError):
    """There is no plan that does what was asked for."""


@dataclass(frozen=True)
class Overheads:
    """CPU seconds around the steps, of one image, as measured on two cores."""

    worker: float = 0.000_1
    """The worker's own, for each stage."""
    coordinator: float = 0.000_7
    """The coordinator's, for accepting an image, dispatching it and noting its end."""
    hop: float = 0.000_14
    """Of a hop between two stages, whatever the chunk: with `hop_message`, 0.87 ms at chunk 1 and 0.23 at 8."""
    hop_message: float = 0.000_73
    """Of a hop, for each chunk."""
    message: float = 0.000_5
    """Penstock's for a message of the first delivery and of the events, and RabbitMQ's, if there is one, for each."""
    byte: float = 1.7e-9
    """Of one byte of intermediates, written and read."""
    messages_per_job: int = 3
    messages_per_hop: int = 2


@dataclass(frozen=True)
class Visit:
    """One operation on one image: its step, its CPU seconds, and the pixels that it hands on, over all parts."""

    step: str
    secs: float
    pixels: int


@dataclass(frozen=True)
class Cost:
    """What one image costs, in CPU seconds: in each stage, and outside of them."""

    placement: Placement
    chunk: int | Literal["auto"]
    stages: Mapping[str, float]
    coordinator: float
    broker: float
    moved_bytes: int

    @property
    def secs(self) -> float:
        """All of it."""
        return sum(self.stages.values()) + self.coordinator + self.broker

    @property
    def latency_secs(self) -> float:
        """From a worker's first touch to the results, where all workers are idle: of a chunk, which ends as one."""
        together = 1 if self.chunk == AUTO else int(self.chunk)
        return together * sum(self.stages.values()) + self.coordinator


@dataclass(frozen=True)
class Estimate:
    """What a job takes with so many replicas of each stage."""

    cost: Cost
    images: int
    replicas: Mapping[str, int]
    secs: float
    cpu_secs: float
    """Work, wherever it is done."""
    paid_secs: float
    """Cores that are there for the job, for as long as it takes."""

    def busy(self, stage: str) -> float:
        """Return the share of the time in which a stage's replicas work."""
        return min(1.0, self.images * self.cost.stages[stage] / self.replicas[stage] / self.secs)

    @property
    def slowest(self) -> str:
        """The stage that all others wait for."""
        return max(self.replicas, key=self.busy)


def cost_image(
    visits: Sequence[Visit],
    placement: Placement,
    chunk: int | Literal["auto"] = "auto",
    *,
    broker: bool = True,
    overheads: Overheads | None = None,
) -> Cost:
    """Return what one image costs; `auto` chunks are as large as they are where work waits.

    `broker`: whether a RabbitMQ keeps the queues, and not the coordinator.
    """
    more = overheads or Overheads()
    size = fit_chunk(max((visit.secs for visit in visits), default=0.0)) if chunk == AUTO else int(chunk)
    hops = [before for before, after in pairwise(visits) if before.step != after.step and placement == "per_step"]
    stages: dict[str, float] = {}
    for visit in visits:
        name = FUSED if placement == "fused" else visit.step
        stages[name] = stages.get(name, 0.0) + visit.secs
    stages = {name: secs + more.worker for name, secs in stages.items()}
    for before, after in pairwise(visits):
        if placement == "per_step" and before.step != after.step:
            moving = before.pixels * BYTES_PER_PIXEL * more.byte
            stages[before.step] += moving / 2
            stages[after.step] += moving / 2 + more.hop + more.hop_message / size
    messages = (more.messages_per_job + more.messages_per_hop * len(hops)) / size
    return Cost(
        placement=placement,
        chunk=chunk,
        stages=stages,
        coordinator=more.coordinator + more.messages_per_job * more.message / size,
        broker=messages * more.message * broker,
        moved_bytes=2 * sum(visit.pixels for visit in hops) * BYTES_PER_PIXEL,
    )


def least_secs(cost: Cost, images: int) -> float:
    """Return what a job takes with a replica for every image: one image's way, and the coordinator's work."""
    return cost.latency_secs + images * cost.coordinator


def meet_deadline(cost: Cost, images: int, deadline_secs: float) -> Estimate:
    """Return the fewest replicas that are done within a deadline, with `RESERVE` of it to spare.

    Raises:
        PlanningError: no number of replicas is.
    """
    least = least_secs(cost, images)
    if deadline_secs < least:
        raise PlanningError(
            "impossible_deadline",
            f"a deadline of {say(deadline_secs)} cannot be met: {images:,} images take {say(least)} at least, with any"
            f" number of replicas ({say(cost.latency_secs)} for one image, and the coordinator's work)",
        )
    within = max(deadline_secs * (1 - RESERVE), least) - cost.latency_secs
    replicas = {
        stage: math.ceil(images / (1 + int(within / secs))) if secs else 1 for stage, secs in cost.stages.items()
    }
    return _estimate(cost, images, replicas)


def use_replicas(cost: Cost, images: int, count: int) -> Estimate:
    """Return what a job takes with so many replicas, dealt out so that it takes least.

    Raises:
        PlanningError: fewer than there are stages.
    """
    if count < len(cost.stages):
        raise PlanningError(
            "too_few_replicas",
            f"{count} replicas for {', '.join(cost.stages)}: each needs one, accepted are {len(cost.stages)} and more",
        )
    replicas = dict.fromkeys(cost.stages, 1)
    for _ in range(count - len(replicas)):
        replicas[max(replicas, key=lambda stage: cost.stages[stage] / replicas[stage])] += 1
    return _estimate(cost, images, replicas)


def use_cores(cost: Cost, images: int, cores: int, start_secs: float = 0.0) -> Estimate:
    """Return what a job takes on one host, where everything shares its cores, and an image is on one at a time."""
    in_turn = math.ceil(images / cores) * sum(cost.stages.values())
    secs = start_secs + max(images * cost.secs / cores, in_turn)
    return Estimate(cost, images, dict.fromkeys(cost.stages, cores), secs, images * cost.secs, cores * secs)


def _estimate(cost: Cost, images: int, replicas: Mapping[str, int]) -> Estimate:
    slowest = max((math.ceil(images / replicas[stage]) - 1) * secs for stage, secs in cost.stages.items())
    secs = max(slowest, images * cost.coordinator) + cost.latency_secs
    around = images * (cost.coordinator + cost.broker)
    return Estimate(cost, images, replicas, secs, images * cost.secs, sum(replicas.values()) * secs + around)


def price(estimate: Estimate, cpu_price: float, gpu_price: float = 0.0, gpu_stages: Sequence[str] = ()) -> float:
    """Return what a job costs: prices are of a core and of a GPU for an hour, one of each a replica."""
    gpus = sum(count for stage, count in estimate.replicas.items() if stage in gpu_stages or _holds(stage, gpu_stages))
    return (estimate.paid_secs * cpu_price + gpus * estimate.secs * gpu_price) / 3_600


def _holds(stage: str, gpu_stages: Sequence[str]) -> bool:
    return stage == FUSED and bool(gpu_stages)


def say(secs: float) -> str:
    """Return a time briefly: `4.1 ms`, `12.3 s`, `5.0 min`, `2.0 h`."""
    for limit, unit, name in ((1.0, 0.001, "ms"), (100.0, 1.0, "s"), (6_000.0, 60.0, "min")):
        if secs < limit:
            return f"{secs / unit:.1f} {name}"
    return f"{secs / 3_600:,.1f} h"

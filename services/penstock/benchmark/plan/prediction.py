"""Prediction of a job's replicas, time, CPU and cost from the CPU seconds of one image in each step.

The workers of a step form a stage of a pipeline. A job takes as long as its slowest stage, plus the latency of one
image. Seconds are CPU seconds of one core, and a replica has one core. `Overheads` was measured (docs/plan.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from penstock.common.model.errors import PenstockError
from penstock.common.model.messages import fit_chunk
from penstock.common.wording.durations import format_secs

Placement = Literal["fused", "per_step"]
BYTES_PER_PIXEL = 3
AUTO = "auto"
FUSED = "all steps"
"""Name of the single stage of fused workers."""
RESERVE = 0.1
"""Share of a deadline that is kept in reserve."""


class PlanningError(PenstockError):
    """The goal cannot be reached."""


@dataclass(frozen=True)
class Overheads:
    """CPU seconds per image outside of the steps, measured on two cores."""

    worker: float = 0.000_1
    """Worker, per stage."""
    coordinator: float = 0.000_7
    """Coordinator: accepting an image, dispatching it and applying its events."""
    hop: float = 0.000_14
    """Hop between two stages, per image; with `hop_message` 0.87 ms at chunk size 1 and 0.23 ms at 8."""
    hop_message: float = 0.000_73
    """Hop between two stages, per chunk."""
    message: float = 0.000_5
    """Penstock, per message of first delivery and events; and RabbitMQ, if there is one, per message."""
    byte: float = 1.7e-9
    """One byte of intermediates, written and read."""
    messages_per_job: int = 3
    messages_per_hop: int = 2


@dataclass(frozen=True)
class Visit:
    """One operation on one image: its step, CPU seconds, and the pixels of all its parts afterwards."""

    step: str
    secs: float
    pixels: int


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one image, in each stage and outside of the stages."""

    placement: Placement
    chunk: int | Literal["auto"]
    stages: Mapping[str, float]
    coordinator: float
    broker: float
    moved_bytes: int

    @property
    def secs(self) -> float:
        """The sum."""
        return sum(self.stages.values()) + self.coordinator + self.broker

    @property
    def latency_secs(self) -> float:
        """Latency of a chunk if all workers are idle."""
        images = 1 if self.chunk == AUTO else int(self.chunk)
        return images * sum(self.stages.values()) + self.coordinator


@dataclass(frozen=True)
class Estimate:
    """What a job takes with a number of replicas of each stage."""

    cost: Cost
    images: int
    replicas: Mapping[str, int]
    secs: float
    cpu_secs: float
    """CPU seconds used."""
    paid_secs: float
    """Core seconds reserved."""

    def busy(self, stage: str) -> float:
        """Return the utilization of a stage's replicas, 0 to 1."""
        return min(1.0, self.images * self.cost.stages[stage] / self.replicas[stage] / self.secs)

    @property
    def slowest(self) -> str:
        """The bottleneck."""
        return max(self.replicas, key=self.busy)


def cost_image(
    visits: Sequence[Visit],
    placement: Placement,
    chunk: int | Literal["auto"] = "auto",
    *,
    broker: bool = True,
    overheads: Overheads | None = None,
) -> Cost:
    """Return the cost of one image; `auto` chunks have the size that they have under load.

    `broker` says whether there is a RabbitMQ.
    """
    more = overheads or Overheads()
    size = fit_chunk(max((visit.secs for visit in visits), default=0.0)) if chunk == AUTO else int(chunk)
    hops = [pair for pair in pairwise(visits) if pair[0].step != pair[1].step and placement == "per_step"]
    stages: dict[str, float] = {}
    for visit in visits:
        name = FUSED if placement == "fused" else visit.step
        stages[name] = stages.get(name, 0.0) + visit.secs
    stages = {name: secs + more.worker for name, secs in stages.items()}
    for before, after in hops:
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
        moved_bytes=2 * sum(before.pixels for before, _ in hops) * BYTES_PER_PIXEL,
    )


def least_secs(cost: Cost, images: int) -> float:
    """Return the seconds that a job takes at least: the latency of an image, and the coordinator's work."""
    return cost.latency_secs + images * cost.coordinator


def meet_deadline(cost: Cost, images: int, deadline_secs: float) -> Estimate:
    """Return the fewest replicas that meet a deadline, less `RESERVE`.

    Raises:
        PlanningError: no number of replicas meets it.
    """
    least = least_secs(cost, images)
    if deadline_secs < least:
        raise PlanningError(
            "impossible_deadline",
            f"a deadline of {format_secs(deadline_secs)} cannot be met: {images:,} images take {format_secs(least)} at"
            f" least, with any number of replicas ({format_secs(cost.latency_secs)} for one image, and the"
            " coordinator's work)",
        )
    within = max(deadline_secs * (1 - RESERVE), least) - cost.latency_secs
    replicas = {
        stage: math.ceil(images / (1 + int(within / secs))) if secs else 1 for stage, secs in cost.stages.items()
    }
    return _estimate(cost, images, replicas)


def use_replicas(cost: Cost, images: int, count: int) -> Estimate:
    """Return what a job takes with `count` replicas in all, divided so that it takes the least time.

    Raises:
        PlanningError: there are fewer replicas than stages.
    """
    if count < len(cost.stages):
        raise PlanningError(
            "too_few_replicas",
            f"{count} replicas for {', '.join(cost.stages)}: each needs one; accepted are {len(cost.stages)} or more",
        )
    replicas = dict.fromkeys(cost.stages, 1)
    for _ in range(count - len(replicas)):
        replicas[max(replicas, key=lambda stage: cost.stages[stage] / replicas[stage])] += 1
    return _estimate(cost, images, replicas)


def use_cores(cost: Cost, images: int, cores: int, start_secs: float = 0.0) -> Estimate:
    """Return what a job takes on one host, where all processes share the cores, and an image uses one at a time."""
    sequential = math.ceil(images / cores) * sum(cost.stages.values())
    secs = start_secs + max(images * cost.secs / cores, sequential)
    return Estimate(cost, images, dict.fromkeys(cost.stages, cores), secs, images * cost.secs, cores * secs)


def _estimate(cost: Cost, images: int, replicas: Mapping[str, int]) -> Estimate:
    slowest = max((math.ceil(images / replicas[stage]) - 1) * secs for stage, secs in cost.stages.items())
    secs = max(slowest, images * cost.coordinator) + cost.latency_secs
    around = images * (cost.coordinator + cost.broker)
    return Estimate(cost, images, replicas, secs, images * cost.secs, sum(replicas.values()) * secs + around)


def price(estimate: Estimate, cpu_price: float, gpu_price: float = 0.0, gpu_stages: Sequence[str] = ()) -> float:
    """Return the cost of a job; prices are per hour, and a replica has one core and at most one GPU."""
    gpus = sum(
        count for stage, count in estimate.replicas.items() if gpu_stages and (stage == FUSED or stage in gpu_stages)
    )
    return (estimate.paid_secs * cpu_price + gpus * estimate.secs * gpu_price) / 3_600

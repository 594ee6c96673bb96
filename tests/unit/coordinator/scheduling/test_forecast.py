"""Forecast: the step that limits a job, as for all jobs, and the time left, by images, service times and workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from coordinator_fixture import ManualClock

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Outcome, StepTime
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.ports.scheduler import Forecast, JobProgress, StepStatus
from penstock.coordinator.scheduling.advice import advise
from penstock.coordinator.scheduling.backlog import count_remaining, forecast
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.replicas import Replicas
from penstock.coordinator.scheduling.snapshot import Snapshot, StepSnapshot

PLAN = ("resize", "blur", "encode")


def job(*plan: str, name: str = "a", **fields: Any) -> Job:
    return Job(name, JobState.RUNNING, StoredPlan([{"op": step} for step in plan or PLAN]), {}, 0.0, **fields)


def measured(**secs: float) -> dict[str, StepSnapshot]:
    return {step: StepSnapshot(seconds_per_image) for step, seconds_per_image in secs.items()}


def forecast_of(found: Job, snapshot: Snapshot, **workers: int) -> Forecast:
    return forecast(found, snapshot, lambda step: workers.get(step, 0), lambda _: None)


@pytest.mark.parametrize(
    ("workers", "bottleneck"),
    [
        ({"resize": 1, "blur": 1, "encode": 1}, "blur"),
        ({"resize": 1, "blur": 8, "encode": 1}, "encode"),
        ({"resize": 1, "blur": 8, "encode": 4}, "resize"),
        ({"resize": 0, "blur": 8, "encode": 4}, "resize"),
    ],
)
def test_the_bottleneck_of_the_only_job_is_that_of_the_system(workers: Mapping[str, int], bottleneck: str) -> None:
    """It follows from the work left and from the workers that share it, not from the work alone."""
    snapshot = Snapshot(steps=measured(resize=0.5, blur=2.0, encode=0.6))
    found = job(pending=100)
    remaining = count_remaining([found], snapshot)
    statuses = [StepStatus(step, workers[step], 0, 0, *remaining[step][:1], None, remaining[step][1]) for step in PLAN]
    advice = advise(statuses, lambda _: None, 300.0)
    assert advice is not None
    assert forecast_of(found, snapshot, **workers).bottleneck == advice.step == bottleneck


def test_steps_of_one_deployment_share_its_workers() -> None:
    snapshot = Snapshot(steps=measured(resize=1.0, blur=3.0, encode=1.0))
    fused = Replicas(2, 2, ("penstock-fused",))
    expected = forecast(job(pending=100), snapshot, lambda _: 2, lambda _: fused)
    assert (expected.bottleneck, expected.eta_secs) == ("blur", 100 * 5.0 / 2)


def test_the_slowest_pool_determines_the_time_left_and_one_image_passes_the_others() -> None:
    snapshot = Snapshot(steps=measured(resize=1.0, blur=6.0, encode=2.0))
    workers = {"resize": 1, "blur": 2, "encode": 1}
    assert forecast_of(job(pending=100), snapshot, **workers).eta_secs == 100 * 6.0 / 2 + 1.0 + 2.0
    last = Snapshot(jobs={"a": JobProgress([(0, 0), (0, 0), (0, 1)])}, steps=snapshot.steps)
    assert forecast_of(job(running=1), last, **workers).eta_secs == 2.0


def test_more_workers_than_chunks_do_not_help() -> None:
    snapshot = Snapshot(steps=measured(blur=60.0))
    assert forecast_of(job("blur", pending=3), snapshot, blur=8).eta_secs == 60.0
    assert forecast_of(job("blur", pending=12, chunk_size=6), snapshot, blur=8).eta_secs == 360.0


def test_a_job_gets_its_share_of_the_workers() -> None:
    both = {"a": JobProgress([(3, 1)], running=[(1, 0.0)]), "b": JobProgress([(3, 3)], running=[(3, 0.0)])}
    snapshot = Snapshot(jobs=both, steps=measured(blur=10.0), running_chunks={"blur": 4})
    assert forecast_of(job("blur", pending=16, queued=3, running=1), snapshot, blur=4).eta_secs == 200.0


@pytest.mark.parametrize(
    ("secs", "workers"), [({"resize": 1.0}, {"resize": 1, "blur": 1}), ({"resize": 1.0, "blur": 1.0}, {"resize": 1})]
)
def test_the_time_left_is_unknown_before_a_step_is_measured_or_has_workers(
    secs: dict[str, float], workers: dict[str, int]
) -> None:
    assert forecast_of(job("resize", "blur", pending=9), Snapshot(steps=measured(**secs)), **workers).eta_secs is None


def test_the_time_left_falls_evenly_to_zero_while_images_take_long() -> None:
    """One worker takes 12 s for each of 16 images, of which 6 share a message; an earlier job was measured."""
    clock, secs, total = ManualClock(), 12.0, 16
    in_flight = InFlight(clock=clock)
    earlier, found = job("slow", name="earlier"), job("slow", chunk_size=6)
    in_flight.add_dispatched(earlier, [(0, 0)])
    outcome = Outcome(id=0, state="done", timings=[StepTime(step=0, wait=0.0, work=secs)])
    in_flight.apply([Event(kind="finished", job="earlier", chunk="e", outcomes=[outcome])])
    in_flight.remove_job("earlier", 0)
    in_flight.add_dispatched(found, [(image, 0) for image in range(total)])

    def left(done: int) -> float:
        open_job = job("slow", chunk_size=6, queued=total - done, done=done)
        eta_secs = forecast_of(open_job, in_flight.snapshot(), slow=1).eta_secs
        assert eta_secs is not None
        return eta_secs

    assert left(0) == 192.0
    for image in range(total):
        if image:
            ended = outcome.model_copy(update={"id": image - 1})
            in_flight.apply([Event(kind="finished", job="a", chunk=f"c{(image - 1) // 6}", outcomes=[ended])])
        of_chunk = [*range(image, min(total, (image // 6 + 1) * 6))]
        in_flight.apply([Event(kind="started", job="a", chunk=f"c{image // 6}", images=of_chunk)])
        for second in range(12):
            assert left(image) == pytest.approx(192.0 - 12 * image - second)
            clock.now += 1.0

"""Service times: by what was done to the images so far, or by the step if that is new."""

from __future__ import annotations

from typing import Any

import pytest
from coordinator_fixture import CoordinatorFixture

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Outcome, StepTime
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.scheduling.backlog import count_remaining
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.service_times import Mean, ServiceTimes, find_service_times, prefix_keys

RESIZE: dict[str, Any] = {"op": "resize", "width": 8, "height": 8}
GAUSSIAN: dict[str, Any] = {"op": "blur", "method": "gaussian"}
BILATERAL: dict[str, Any] = {"op": "blur", "method": "bilateral"}


def plan(*operations: dict[str, Any]) -> StoredPlan:
    return StoredPlan(list(operations))


def job(name: str, *operations: dict[str, Any], **counts: int) -> Job:
    return Job(name, JobState.RUNNING, plan(*operations), {}, created_at=0.0, **counts)


def measured(*jobs: tuple[Job, list[float]]) -> InFlight:
    """Return what is known after one image of each job, with its seconds in each operation."""
    in_flight = InFlight()
    for found, secs in jobs:
        in_flight.add_dispatched(found, [(0, 0)])
        in_flight.apply([finished(found.id, 1, *secs)])
    return in_flight


def finished(job: str, images: int, *secs: float) -> Event:
    timings = [StepTime(step=index, wait=0.0, work=work) for index, work in enumerate(secs)]
    outcomes = [Outcome(id=image, state="done", timings=timings) for image in range(images)]
    return Event(kind="finished", job=job, chunk="c", outcomes=outcomes)


def test_a_mean_follows_recent_values() -> None:
    mean = Mean()
    assert mean.value == 0.0
    for value in [1.0] * 5_000 + [3.0] * 5_000:
        mean.add(value)
    assert 2.9 < mean.value <= 3.0


def test_plans_share_keys_as_far_as_they_are_the_same() -> None:
    first, second = prefix_keys(plan(RESIZE, GAUSSIAN)), prefix_keys(plan(RESIZE, BILATERAL))
    assert first[0] == second[0]
    assert len({*first, *second, *prefix_keys(plan(GAUSSIAN, RESIZE))}) == 5


def test_operations_of_one_step_are_measured_apart() -> None:
    fast, slow = job("fast", GAUSSIAN), job("slow", BILATERAL)
    in_flight = measured((fast, [0.01]), (slow, [0.5]))
    assert in_flight.service_times(fast.plan) == [0.01]
    assert in_flight.service_times(slow.plan) == [0.5]
    waiting = [job("a", GAUSSIAN, pending=100), job("b", BILATERAL, pending=10)]
    assert count_remaining(waiting, in_flight.snapshot()) == {"blur": (110, pytest.approx(100 * 0.01 + 10 * 0.5))}


def test_slow_images_have_small_chunks_although_most_images_of_their_step_were_fast(
    coordinator: CoordinatorFixture,
) -> None:
    for name, operation, images, secs in (("slow", BILATERAL, 1, 0.5), ("fast", GAUSSIAN, 150, 0.001)):
        accepted = coordinator.accept_job(name, 200, plan=[operation])
        coordinator.in_flight.add_dispatched(accepted, [(image, 0) for image in range(images)])
        coordinator.in_flight.apply([finished(name, images, secs)])
    coordinator.make_dispatcher().dispatch_round()
    sizes: dict[str, set[int]] = {}
    for chunk in coordinator.take_chunks("blur"):
        sizes.setdefault(chunk.job, set()).add(len(chunk.images))
    assert sizes["slow"] == {1}
    assert max(sizes["fast"]) == 8


def test_the_first_operation_decodes_and_is_measured_apart_from_the_same_one_later() -> None:
    in_flight = measured((job("a", GAUSSIAN), [0.02]), (job("b", RESIZE, GAUSSIAN), [0.01, 0.001]))
    assert in_flight.service_times(plan(RESIZE, GAUSSIAN)) == [0.01, 0.001]


def test_an_unmeasured_operation_has_the_time_of_its_step_and_an_unmeasured_step_has_none() -> None:
    in_flight = measured((job("a", GAUSSIAN), [0.25]))
    assert in_flight.service_times(plan(BILATERAL, RESIZE)) == [0.25, None]


def test_memory_is_bounded_and_prefixes_in_use_are_kept() -> None:
    times = ServiceTimes()
    in_use = prefix_keys(plan(RESIZE))[0]
    for number in range(3_000):
        times.add("blur", f"prefix-{number}", 1.0)
        times.add("resize", in_use, 0.5)
        times.add("resize", f"other-{number}", 4.5)
    assert len(times.by_prefix) <= 256
    assert find_service_times(plan(RESIZE), times.by_step, times.by_prefix) == [0.5]
    assert times.by_step["resize"] == pytest.approx(2.5)

"""How long images take: by what was done to them and before, or where that is new, by the step."""

from __future__ import annotations

from typing import Any

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Outcome, StepTime
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.scheduling.backlog import count_left
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.leader_status import Snapshot
from penstock.coordinator.scheduling.service_times import Mean, ServiceTimes, find_secs, name_kinds

RESIZE, GAUSSIAN, BILATERAL = (
    {"op": "resize", "width": 8, "height": 8},
    {"op": "blur", "method": "gaussian"},
    {"op": "blur", "method": "bilateral"},
)


def job(name: str, *plan: dict[str, Any], **counts: int) -> Job:
    return Job(name, JobState.RUNNING, StoredPlan.read(plan), {}, created_at=0.0, **counts)


def live_after(*jobs: tuple[Job, list[float]]) -> InFlight:
    """Return what is known after one image of each job, which took so many seconds in each operation."""
    live = InFlight()
    for found, secs in jobs:
        live.dispatched(found, [(0, 0)])
        timings = [StepTime(step=index, wait=0.0, work=each) for index, each in enumerate(secs)]
        outcome = Outcome(id=0, state="done", timings=timings)
        live.observe([Event(kind="finished", job=found.id, chunk="c", outcomes=[outcome])])
    return live


def test_a_mean_follows_what_is_recent() -> None:
    mean = Mean()
    assert mean.value is None
    for value in [1.0] * 5_000 + [3.0] * 5_000:
        mean.add(value)
    assert 2.9 < mean.value <= 3.0


def test_operations_are_of_a_kind_where_all_was_the_same_up_to_them() -> None:
    first, second = name_kinds(StoredPlan.read([RESIZE, GAUSSIAN])), name_kinds(StoredPlan.read([RESIZE, BILATERAL]))
    assert first[0] == second[0]
    assert len({*first, *second, *name_kinds(StoredPlan.read([GAUSSIAN, RESIZE]))}) == 5


def test_a_slow_blur_is_not_taken_for_a_quick_one() -> None:
    quick, slow = job("quick", GAUSSIAN), job("slow", BILATERAL)
    live = live_after((quick, [0.01]), (slow, [0.5]))
    assert live.seconds_of(quick.plan) == [0.01]
    assert live.seconds_of(slow.plan) == [0.5]
    waiting = [job("a", GAUSSIAN, pending=100), job("b", BILATERAL, pending=10)]
    assert count_left(waiting, live) == {"blur": (110, 100 * 0.01 + 10 * 0.5)}


def test_slow_images_go_one_by_one_though_most_of_their_step_were_quick(house: Any) -> None:
    quick, slow = (house.job(name, 200, plan=[blur]) for name, blur in (("quick", GAUSSIAN), ("slow", BILATERAL)))
    for found, images, secs in ((slow, 1, 0.5), (quick, 150, 0.001)):
        house.live.dispatched(found, [(image, 0) for image in range(images)])
        timings = [StepTime(step=0, wait=0.0, work=secs)]
        outcomes = [Outcome(id=image, state="done", timings=timings) for image in range(images)]
        house.live.observe([Event(kind="finished", job=found.id, chunk="c", outcomes=outcomes)])
    Dispatcher(house.repository, house.store, house.broker, house.live, DispatchSettings()).fill()
    sizes: dict[str, set[int]] = {}
    for chunk in house.sent("blur"):
        sizes.setdefault(chunk.job, set()).add(len(chunk.images))
    assert sizes["slow"] == {1}
    assert max(sizes["quick"]) == 8


def test_what_comes_first_decodes_and_is_not_taken_for_what_comes_later() -> None:
    live = live_after((job("a", GAUSSIAN), [0.02]), (job("b", RESIZE, GAUSSIAN), [0.01, 0.001]))
    assert live.seconds_of(StoredPlan.read([RESIZE, GAUSSIAN])) == [0.01, 0.001]


def test_a_new_kind_is_taken_to_be_as_its_step_and_a_new_step_is_not_known() -> None:
    live = live_after((job("a", GAUSSIAN), [0.25]))
    assert live.seconds_of(StoredPlan.read([BILATERAL, RESIZE])) == [0.25, None]


def test_those_who_follow_know_as_much_as_the_leader() -> None:
    live = live_after((job("a", GAUSSIAN), [0.01]), (job("b", BILATERAL), [0.5]))
    for operations in ([GAUSSIAN], [BILATERAL], [BILATERAL, RESIZE]):
        plan = StoredPlan.read(operations)
        assert Snapshot(live.tell()).seconds_of(plan) == live.seconds_of(plan)
    assert Snapshot().seconds_of(StoredPlan.read([GAUSSIAN])) == [None]


def test_kinds_by_the_thousand_take_bounded_memory_and_those_in_use_stay() -> None:
    speeds = ServiceTimes()
    for number in range(3_000):
        speeds.add("resize", f"kind-{number}", 1.0)
        speeds.add("blur", "in use", 0.5)
    assert len(speeds.kinds()) <= 256
    assert speeds.of_kind("in use") == 0.5
    assert find_secs(StoredPlan.read([RESIZE]), speeds.of_kind, speeds.of_step) == [1.0]

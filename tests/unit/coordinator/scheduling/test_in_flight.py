"""In-flight images: positions and speeds follow the events, in bounded memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from coordinator_fixture import ManualClock

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Failure, Outcome, StepTime
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.scheduling.in_flight import InFlight, Rate
from penstock.coordinator.scheduling.snapshot import Snapshot

STEPS = ("resize", "blur", "encode")
PLAN = StoredPlan([{"op": step} for step in STEPS])


def job(run: int = 0, name: str = "j") -> Job:
    return Job(name, JobState.RUNNING, PLAN, {}, created_at=0.0, run=run)


def event(kind: Literal["started", "stepped"], *images: int, step: int = 0, **fields: Any) -> Event:
    return Event(kind=kind, job="j", chunk="c", step=step, images=list(images), **fields)


def finished(*outcomes: Outcome, run: int = 0) -> Event:
    return Event(kind="finished", job="j", run=run, chunk="c", outcomes=list(outcomes))


def done(*images: int) -> Event:
    return finished(*(Outcome(id=image, state="done") for image in images))


def positions(in_flight: InFlight) -> list[tuple[int, int]]:
    return in_flight.snapshot().job("j").positions


@pytest.fixture
def in_flight() -> InFlight:
    made = InFlight()
    made.add_dispatched(job(), [(0, 0), (1, 0), (2, 1)])
    return made


def test_positions_follow_the_events(in_flight: InFlight) -> None:
    assert positions(in_flight) == [(2, 0), (1, 0), (0, 0)]
    in_flight.apply([event("started", 0, 1), event("stepped", 0, step=1), event("started", 2, step=1)])
    assert positions(in_flight) == [(0, 1), (1, 1), (0, 0)]
    in_flight.apply([done(0)])
    assert positions(in_flight) == [(0, 1), (0, 1), (0, 0)]
    assert (in_flight.count("j"), in_flight.count()) == (2, 2)


def test_the_busiest_step_is_where_most_images_wait_or_else_where_most_run(in_flight: InFlight) -> None:
    assert in_flight.busiest_steps() == {STEPS: "resize"}
    in_flight.apply([event("stepped", 0, step=1), event("started", 1)])
    assert in_flight.busiest_steps() == {STEPS: "blur"}
    in_flight.apply([event("started", 0, 2, step=1)])
    assert in_flight.busiest_steps() == {STEPS: "blur"}, "two run there, and one in resize"
    in_flight.apply([done(0, 1, 2)])
    assert in_flight.busiest_steps() == {}


def test_images_are_counted_by_owner_and_plan(in_flight: InFlight) -> None:
    in_flight.add_dispatched(replace(job(name="k"), owner="delft"), [(0, 0), (1, 0)])
    in_flight.add_dispatched(replace(job(name="l"), owner="delft", plan=StoredPlan(PLAN.operations[:1])), [(0, 0)])
    counts = {("", STEPS): 3, ("delft", STEPS): 2, ("delft", ("resize",)): 1}
    assert in_flight.count_by_owner_and_steps() == counts


def test_a_running_image_does_not_wait_again_after_a_late_event(in_flight: InFlight) -> None:
    in_flight.apply([event("started", 0, step=1), event("stepped", 0, step=1)])
    assert positions(in_flight)[1] == (1, 1)


def test_workers_are_counted_by_the_names_in_their_events(in_flight: InFlight) -> None:
    without_worker = finished(Outcome(id=1, state="failed"))
    in_flight.apply([event("started", 0, worker="a"), event("stepped", 0, worker="a"), without_worker])
    assert in_flight.count_workers() == 1
    in_flight.apply([event("started", 2, worker="b")])
    assert in_flight.count_workers() == 2


def state(worker: str, waiting_for: str | None, *steps: str) -> Event:
    return Event(kind="started", job="", chunk="", worker=worker, waiting_for=waiting_for, steps=steps)


def test_images_that_a_worker_gives_back_wait_again(in_flight: InFlight) -> None:
    in_flight.apply([event("started", 0, 1), event("stepped", 0, 1, waiting_for="store full (12 kB free)")])
    assert positions(in_flight) == [(2, 0), (1, 0), (0, 0)]
    in_flight.apply([event("started", 0)])
    assert positions(in_flight) == [(1, 1), (1, 0), (0, 0)]


def test_a_job_waits_for_what_the_workers_of_its_images_wait_for(in_flight: InFlight) -> None:
    full = "store full (12 kB free)"
    in_flight.apply([state("a", "bucket (403)", "blur", "encode"), state("b", full, "blur"), state("c", full, "crop")])
    assert in_flight.waiting() == {"blur": (2, full), "encode": (1, "bucket (403)"), "crop": (1, full)}
    assert in_flight.job("j").waiting_for == in_flight.snapshot().job("j").waiting_for == full
    assert Snapshot.from_json(in_flight.snapshot().to_json()).waiting == in_flight.waiting()
    in_flight.apply([state("a", None, "blur", "encode")])
    assert in_flight.waiting() == {"blur": (1, full), "crop": (1, full)}
    in_flight.apply([event("started", 0, worker="b")])
    assert in_flight.waiting() == {"crop": (1, full)}
    assert in_flight.job("j").waiting_for is None


def test_a_worker_that_said_for_a_minute_no_more_that_it_waits_is_gone() -> None:
    clock = ManualClock()
    in_flight = InFlight(clock=clock)
    in_flight.apply([state("a", "store full", "blur")])
    clock.advance(59.0)
    assert in_flight.waiting() == {"blur": (1, "store full")}
    clock.advance(2.0)
    assert in_flight.waiting() == {}


def test_a_worker_without_events_for_a_minute_does_not_count() -> None:
    clock = ManualClock()
    in_flight = InFlight(clock=clock)
    in_flight.apply([event("started", 0, worker="a")])
    clock.advance(50.0)
    in_flight.apply([event("started", 0, worker="b")])
    clock.advance(20.0)
    assert in_flight.count_workers() == 1


def test_an_image_that_starts_again_from_its_source_is_followed(in_flight: InFlight) -> None:
    in_flight.apply([event("started", 2, step=1), event("started", 2), event("stepped", 2, step=1)])
    assert positions(in_flight) == [(2, 0), (1, 0), (0, 0)]


@pytest.mark.parametrize(
    "stray",
    [
        event("started", 99),
        event("stepped", 0, step=7),
        event("started", 0, step=-1),
        Event(kind="started", job="another", chunk="c", images=[0]),
        event("started", 0, run=1),
        finished(Outcome(id=99, state="done", timings=[StepTime(step=0, wait=0, work=1)])),
    ],
    ids=["image", "step", "negative", "job", "run", "outcome"],
)
def test_events_about_unknown_images_change_nothing(in_flight: InFlight, stray: Event) -> None:
    before = positions(in_flight)
    in_flight.apply([stray])
    assert positions(in_flight) == before
    assert in_flight.snapshot().steps == {}


def test_times_of_operations_outside_the_plan_are_ignored(in_flight: InFlight) -> None:
    timings = [StepTime(step=step, wait=0.0, work=2.0) for step in (-1, 0, 3)]
    in_flight.apply([finished(Outcome(id=0, state="done", timings=timings))])
    assert {name: step.seconds_per_image for name, step in in_flight.snapshot().steps.items()} == {"resize": 2.0}


def test_each_image_counts_once_for_the_throughput(in_flight: InFlight) -> None:
    failure = Failure(code="corrupt_image", message="", step="resize", retry=False)
    bad = finished(Outcome(id=1, state="failed", error=failure))
    timings = [StepTime(step=0, wait=0.0, work=2.0)]
    in_flight.apply([finished(Outcome(id=0, state="done", timings=timings)), bad, bad])
    rate = in_flight.snapshot().job("j").images_per_second
    assert rate is not None
    assert rate > 0
    assert in_flight.count("j") == 1


def test_an_ended_job_is_removed_and_a_late_dispatch_is_ignored(in_flight: InFlight) -> None:
    in_flight.remove_job("j", 0)
    in_flight.add_dispatched(job(), [(5, 0)])
    assert in_flight.count() == 0
    assert positions(in_flight) == []
    assert in_flight.snapshot().job("j").images_per_second is None
    in_flight.add_dispatched(job(run=1), [(5, 0)])
    assert in_flight.count("j") == 1


def test_the_end_of_a_run_does_not_remove_a_retry_that_began_meanwhile(in_flight: InFlight) -> None:
    in_flight.add_dispatched(job(run=1), [(7, 1)])
    in_flight.remove_job("j", 0)
    assert positions(in_flight) == [(0, 0), (1, 0), (0, 0)]


def test_memory_for_ended_jobs_is_bounded(in_flight: InFlight) -> None:
    for number in range(3_000):
        name = f"job-{number}"
        in_flight.add_dispatched(job(name=name), [(0, 0)])
        in_flight.remove_job(name, 0)
    assert len(in_flight._ended_runs) <= 1_000
    assert in_flight.count() == 3


def test_a_rate_is_the_mean_over_ten_seconds() -> None:
    clock = ManualClock()
    rate = Rate(clock)
    for _ in range(40):
        clock.advance(0.5)
        rate.add(2.0)
    assert rate.per_second() == pytest.approx(4.0, rel=0.06)
    clock.advance(60.0)
    assert rate.per_second() == 0.0


def test_a_rate_that_is_not_read_keeps_only_ten_seconds() -> None:
    clock = ManualClock()
    rate = Rate(clock)
    for _ in range(10_000):
        clock.advance(0.2)
        rate.add(1.0)
    assert len(rate._entries) <= 51


def test_steps_share_workers_if_most_images_do_not_wait_in_between(in_flight: InFlight) -> None:
    def timings(*waits: float) -> list[StepTime]:
        return [StepTime(step=index, wait=wait, work=0.1) for index, wait in enumerate(waits)]

    in_flight.apply([finished(Outcome(id=0, state="done", timings=timings(0.2, 0.0, 0.3)))])
    assert in_flight.snapshot().shared_steps == {("resize", "blur")}
    waited = [Outcome(id=image, state="done", timings=timings(0.2, 0.1)) for image in (1, 2)]
    in_flight.apply([finished(*waited)])
    assert in_flight.snapshot().shared_steps == set()

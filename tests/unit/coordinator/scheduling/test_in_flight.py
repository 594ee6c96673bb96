"""Positions and speeds in memory: right while work goes on, and bounded for as long as it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Failure, Outcome, StepTime
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.scheduling.in_flight import InFlight, Rate
from penstock.coordinator.scheduling.leader_status import Snapshot

PLAN = StoredPlan.read([{"op": "resize"}, {"op": "blur"}, {"op": "encode"}])


def job(run: int = 0, name: str = "j") -> Job:
    return Job(name, JobState.RUNNING, PLAN, {}, created_at=0.0, run=run)


def event(kind: Any, *images: int, step: int = 0, **more: Any) -> Event:
    return Event(kind=kind, job="j", chunk="c", step=step, images=list(images), **more)


def finished(*outcomes: Outcome, run: int = 0) -> Event:
    return Event(kind="finished", job="j", run=run, chunk="c", outcomes=list(outcomes))


@pytest.fixture
def live() -> InFlight:
    made = InFlight()
    made.dispatched(job(), [(0, 0), (1, 0), (2, 1)])
    return made


def test_images_are_where_they_were_sent_until_events_tell_otherwise(live: InFlight) -> None:
    assert live.positions("j") == [(2, 0), (1, 0), (0, 0)]
    live.observe([event("started", 0, 1), event("stepped", 0, step=1), event("started", 2, step=1)])
    assert live.positions("j") == [(0, 1), (1, 1), (0, 0)]
    live.observe([finished(Outcome(id=0, state="done"))])
    assert live.positions("j") == [(0, 1), (0, 1), (0, 0)]
    assert (live.under_way("j"), live.under_way()) == (2, 2)


def test_a_plans_place_is_where_most_of_its_images_wait_or_else_are_worked_on(live: InFlight) -> None:
    plan = ("resize", "blur", "encode")
    assert live.places() == {plan: "resize"}
    live.observe([event("stepped", 0, step=1), event("started", 1)])
    assert live.places() == {plan: "blur"}
    live.observe([event("started", 0, 2, step=1)])
    assert live.places() == {plan: "blur"}, "two are worked on there, and one in resize"
    live.observe([finished(*(Outcome(id=image, state="done") for image in range(3)))])
    assert live.places() == {}


def test_what_is_under_way_is_counted_by_owner_and_plan(live: InFlight) -> None:
    live.dispatched(replace(job(name="k"), owner="delft"), [(0, 0), (1, 0)])
    live.dispatched(replace(job(name="l"), owner="delft", plan=StoredPlan(PLAN.operations[:1])), [(0, 0)])
    plan = ("resize", "blur", "encode")
    assert live.load() == {("", plan): 3, ("delft", plan): 2, ("delft", ("resize",)): 1}


def test_an_image_that_is_worked_on_does_not_wait_again_because_news_of_its_way_come_late(live: InFlight) -> None:
    live.observe([event("started", 0, step=1), event("stepped", 0, step=1)])
    assert live.positions("j")[1] == (1, 1)


def test_workers_are_those_that_told_their_names(live: InFlight) -> None:
    refused = Event(kind="finished", job="j", chunk="c", outcomes=[Outcome(id=1, state="failed")])
    live.observe([event("started", 0, worker="a"), event("stepped", 0, worker="a"), refused])
    assert live.workers() == 1
    live.observe([event("started", 2, worker="b")])
    assert live.workers() == 2


def test_an_image_that_starts_again_from_its_source_is_followed_back(live: InFlight) -> None:
    live.observe([event("started", 2, step=1), event("started", 2), event("stepped", 2, step=1)])
    assert live.positions("j") == [(2, 0), (1, 0), (0, 0)]


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
def test_events_that_speak_of_nothing_known_change_nothing(live: InFlight, stray: Event) -> None:
    before = live.positions("j")
    live.observe([stray])
    assert live.positions("j") == before
    assert live.seconds_per_image("resize") is None


def test_times_of_operations_that_the_plan_has_not_are_passed_over(live: InFlight) -> None:
    timings = [StepTime(step=step, wait=0.0, work=2.0) for step in (-1, 0, 3)]
    live.observe([finished(Outcome(id=0, state="done", timings=timings))])
    assert [live.seconds_per_image(step) for step in ("resize", "blur", "encode")] == [2.0, None, None]


def test_what_ended_counts_for_the_speed_each_image_once(live: InFlight) -> None:
    failure = Failure(code="corrupt_image", message="", step="resize", retry=False)
    bad = finished(Outcome(id=1, state="failed", error=failure))
    timings = [StepTime(step=0, wait=0.0, work=2.0)]
    live.observe([finished(Outcome(id=0, state="done", timings=timings)), bad, bad])
    assert live.images_per_second("j") > 0
    assert live.under_way("j") == 1


def test_an_ended_job_is_forgotten_and_a_dispatch_that_comes_too_late_is_not_noted(live: InFlight) -> None:
    live.forget("j", 0)
    live.dispatched(job(), [(5, 0)])
    assert live.under_way() == 0
    assert live.positions("j") == []
    assert live.images_per_second("j") is None
    live.dispatched(job(run=1), [(5, 0)])
    assert live.under_way("j") == 1


def test_the_end_of_a_run_does_not_forget_the_retry_that_began_meanwhile(live: InFlight) -> None:
    live.dispatched(job(run=1), [(7, 1)])
    live.forget("j", 0)
    assert live.positions("j") == [(0, 0), (1, 0), (0, 0)]


def test_ended_jobs_by_the_thousand_take_bounded_memory(live: InFlight) -> None:
    for number in range(3_000):
        name = f"job-{number}"
        live.dispatched(job(name=name), [(0, 0)])
        live.forget(name, 0)
    assert len(live._ended) <= 1_000
    assert live.under_way() == 3


def test_a_rate_is_the_mean_over_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("penstock.coordinator.scheduling.in_flight.time.monotonic", lambda: now[0])
    rate = Rate()
    for _ in range(40):
        now[0] += 0.5
        rate.add(2.0)
    assert rate.per_second() == pytest.approx(4.0, rel=0.06)
    now[0] += 60
    assert rate.per_second() == 0.0


def test_a_rate_that_nobody_asks_for_keeps_ten_seconds_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("penstock.coordinator.scheduling.in_flight.time.monotonic", lambda: now[0])
    rate = Rate()
    for _ in range(10_000):
        now[0] += 0.2
        rate.add(1.0)
    assert len(rate._entries) <= 51


def test_steps_whose_images_do_not_wait_in_between_share_their_workers(live: InFlight) -> None:
    def timings(*waits: float) -> list[StepTime]:
        return [StepTime(step=index, wait=wait, work=0.1) for index, wait in enumerate(waits)]

    live.observe([finished(Outcome(id=0, state="done", timings=timings(0.2, 0.0, 0.3)))])
    assert live.joined() == {("resize", "blur")}
    assert Snapshot(live.tell()).joined() == live.joined()
    live.observe([finished(*(Outcome(id=image, state="done", timings=timings(0.2, 0.1)) for image in (1, 2)))])
    assert live.joined() == set(), "most of them waited"

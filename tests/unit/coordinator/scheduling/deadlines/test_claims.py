"""Claims: open jobs as the policy sees them, wanted workers of steps, and the outlook of a job."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.common.model.jobs import JobState
from penstock.coordinator.ports.repository import DEADLINE, Job, StoredPlan
from penstock.coordinator.ports.scheduler import JobProgress, Outlook
from penstock.coordinator.scheduling.deadlines.claims import START_SECS, Claims
from penstock.coordinator.scheduling.deadlines.policy import RESERVE
from penstock.coordinator.scheduling.replicas import Replicas
from penstock.coordinator.scheduling.snapshot import Snapshot, StepSnapshot

NOW = 1_000.0
STEPS = {"resize": StepSnapshot(10.0), "blur": StepSnapshot(60.0)}


def job(images: int, secs: float | None = None, price: float | None = None, **fields: Any) -> Job:
    """Return a job of two steps with a deadline in `secs`, or a highest price."""
    document: dict[str, Any] = {} if secs is None else {DEADLINE: NOW + secs}
    if price is not None:
        document["cost"] = {"max_price": price}
    plan = StoredPlan([{"op": "resize"}, {"op": "blur"}])
    fields = {"id": "a", "total": images, "pending": images, **fields}
    return Job(state=JobState.RUNNING, plan=plan, document=document, created_at=NOW, **fields)


def claims(
    *jobs: Job, progress: JobProgress | None = None, workers: int = 0, most: int | None = 100, **fields: Any
) -> Claims:
    snapshot = Snapshot(jobs={} if progress is None else {"a": progress}, steps=fields.pop("steps", STEPS))

    def find(step: str) -> Replicas:
        return Replicas(workers, workers, (step,), max_workers=most)

    return Claims(jobs, snapshot, lambda _: workers, find, fields.pop("prices", {}), NOW)


def test_a_later_step_is_wanted_when_its_first_images_are_a_start_away() -> None:
    """The first image takes 10 s in `resize`, whose first replica starts in 30 s."""
    found = job(100, 2_000.0)
    assert claims(found).wanted_workers(["resize"]) == 1
    assert claims(found).wanted_workers(["blur"]) > 3, "40 s ahead, which is within the look-ahead"
    slow = {"resize": StepSnapshot(200.0), "blur": StepSnapshot(60.0)}
    long = job(10, 20_000.0)
    assert claims(long, steps=slow, workers=1).wanted_workers(["blur"]) == 0
    running = JobProgress([(0, 1), (0, 0)], running=[(1, 160.0), (0, 0.0)])
    assert claims(long, steps=slow, workers=1, progress=running).wanted_workers(["blur"]) == 1, "40 s ahead"
    passed = JobProgress([(0, 0), (1, 0)], running=[])
    assert claims(long, steps=slow, workers=1, progress=passed).wanted_workers(["blur"]) == 1


def test_steps_of_one_deployment_are_one_pool() -> None:
    found = job(100, 1_000.0)
    both = claims(found).wanted_workers(["resize", "blur"])
    assert both == pytest.approx(7_000 / (1_000 * (1 - RESERVE) - 70 - START_SECS), abs=1)


def test_the_outlook_names_replicas_end_and_price() -> None:
    found = claims(job(100, 1_000.0), prices={"*": 1.0, "blur": 9.0}).outlook(job(100, 1_000.0))
    assert found is not None
    assert found.is_feasible
    assert found.secs is not None
    assert found.secs <= 1_000.0
    assert found.replicas["blur"] > found.replicas["resize"]
    cost = (9 * found.replicas["blur"] + found.replicas["resize"]) * found.secs / 3_600
    assert found.price == pytest.approx(cost)
    assert found.least_secs is not None
    assert found.least_secs < found.secs


def test_the_outlook_is_unknown_until_all_steps_are_measured_and_absent_without_a_bound() -> None:
    assert claims(steps={}).outlook(job(100, 1_000.0)) == Outlook()
    assert claims().outlook(job(100)) is None


def test_the_present_workers_decide_which_deadlines_are_pressing() -> None:
    """A hundred images take 60 s each in `blur`."""
    near, far, free = job(100, 9_000.0, id="near"), job(100, 90_000.0, id="far"), job(100, id="free")
    assert claims(near, far, free, workers=1).pressing_jobs() == {"near"}
    assert claims(near, far, free, workers=9).pressing_jobs() == set()
    assert claims(near, far, free, workers=0).pressing_jobs() == {"near", "far"}


def test_without_an_autoscaler_the_workers_that_there_are_decide() -> None:
    found = claims(workers=2, most=None).outlook(job(100, 1_000.0))
    assert found is not None
    assert (found.is_feasible, found.replicas) == (False, {"resize": 2, "blur": 2})
    assert found.secs == found.least_secs == pytest.approx(10 + 100 * 60 / 2 + 60 / 2)
    idle = claims(workers=0, most=None).outlook(job(100, 1_000.0))
    assert idle is not None
    assert (idle.is_feasible, idle.secs, idle.least_secs) == (False, None, None)


def test_a_job_whose_deadline_is_not_pressing_is_expected_when_its_share_of_the_workers_is_through() -> None:
    far, near = job(100, 90_000.0), job(100, 9_000.0)
    for found, shared_secs, expected in ((far, 8_000.0, 8_000.0), (far, 99_000.0, 90_000.0), (near, 8_000.0, None)):
        first, then = (claims(found, workers=1, most=None).outlook(found, secs) for secs in (None, shared_secs))
        assert first is not None
        assert then is not None
        assert then.secs == (expected or first.secs)
        assert then.is_feasible


def test_the_outlook_of_a_running_job_follows_its_progress() -> None:
    later = job(100, 1_000.0, pending=0, running=10, done=90)
    first, then = (claims(each, workers=2, most=None).outlook(each) for each in (job(100, 1_000.0), later))
    assert first is not None
    assert then is not None
    assert not first.is_feasible
    assert then.is_feasible


def test_a_highest_price_decides_how_many_workers_a_job_gets() -> None:
    prices = {"*": 3_600.0}
    cheap, dear = (claims(prices=prices).outlook(job(100, price=price)) for price in (9_000.0, 15_000.0))
    assert cheap is not None
    assert dear is not None
    assert cheap.secs is not None
    assert dear.secs is not None
    assert cheap.is_feasible
    assert dear.is_feasible
    assert dear.secs < cheap.secs
    impossible = claims(prices=prices).outlook(job(100, price=5_000.0))
    assert impossible is not None
    assert not impossible.is_feasible
    assert impossible.least_price is not None
    assert impossible.least_price > 7_000.0, "that of the work alone"
    assert impossible.affordable_secs is None

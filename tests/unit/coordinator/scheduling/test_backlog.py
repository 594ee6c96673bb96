"""Backlog: images count once, their work for each visit of a step."""

from __future__ import annotations

from penstock.common.model.jobs import JobState
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.ports.scheduler import Backlog, JobProgress
from penstock.coordinator.scheduling.backlog import UNMEASURED_SECS, count_remaining, measure_backlog
from penstock.coordinator.scheduling.snapshot import Snapshot, StepSnapshot

PLAN = ("resize", "blur", "split", "blur", "encode")


def snapshot(*positions: tuple[int, int], **secs: float) -> Snapshot:
    """Return a snapshot of job `a` and of steps with these service times."""
    steps = {step: StepSnapshot(seconds_per_image) for step, seconds_per_image in secs.items()}
    return Snapshot(jobs={"a": JobProgress(list(positions))}, steps=steps)


def job(plan: tuple[str, ...] = PLAN, **counts: int) -> Job:
    return Job("a", JobState.RUNNING, StoredPlan([{"op": step} for step in plan]), {}, 0.0, **counts)


def backlog(steps: str, job: Job, snapshot: Snapshot, workers: int = 0) -> Backlog:
    return measure_backlog(steps.split(","), [job], snapshot, lambda _: workers)


def test_an_image_remains_for_a_step_until_it_has_passed_it() -> None:
    known = snapshot((2, 1), (0, 0), (0, 4), (0, 0), (1, 0), resize=0.5, blur=2.0)
    found = job(pending=10, queued=3, running=5)
    remaining = {"resize": (13, 6.5), "blur": (13 + 17, 60.0), "split": (17, 0.0), "encode": (18, 0.0)}
    assert count_remaining([found], known) == remaining
    assert backlog("resize", found, known, 3) == Backlog(("resize",), 6.5, 13, 3)
    assert backlog("blur", found, known) == Backlog(("blur",), (13 + 17) * 2.0, 17, 0)
    assert backlog("resize,blur", found, known).remaining == 17, "an image that has to pass both counts once"


def test_images_before_the_fork_remain_for_each_output_in_equal_parts() -> None:
    outputs = {"op": "outputs", "outputs": [{"name": "a", "operations": 1}, {"name": "b", "operations": 2}]}
    operations = [{"op": step} for step in ("resize", "encode", "blur", "encode")]
    known = snapshot((2, 1), (1, 0), (0, 2), (1, 0), resize=0.5)
    open_job = Job("a", JobState.RUNNING, StoredPlan([outputs, *operations]), {}, 0.0, pending=10, queued=4, running=3)
    remaining = count_remaining([open_job], known)
    assert {step: images for step, (images, _) in remaining.items()} == {
        "resize": 13, "encode": 7 + 1 + 7 + 3, "blur": 7 + 2,
    }  # fmt: skip


def test_backlog_is_positive_until_the_last_image_has_passed() -> None:
    for index in range(4):
        known = snapshot(*((0, int(at == index)) for at in range(5)))
        assert backlog("blur", job(running=1), known).backlog_seconds > 0
    passed = snapshot((0, 0), (0, 0), (0, 0), (0, 0), (1, 0))
    assert backlog("blur", job(running=1), passed) == Backlog(("blur",), 0.0, 0, 0)
    assert backlog("blur", job(done=1), snapshot()).backlog_seconds == 0


def test_unmeasured_work_is_estimated_and_never_zero() -> None:
    pending = job(("blur", "encode"), pending=3)
    assert backlog("blur", pending, snapshot()).backlog_seconds == 3 * UNMEASURED_SECS
    assert backlog("blur", pending, snapshot(blur=0.0)).backlog_seconds > 0


def test_a_step_of_no_open_job_has_no_backlog() -> None:
    assert backlog("split", job(("blur", "encode"), pending=3), snapshot()) == Backlog(("split",), 0.0, 0, 0)

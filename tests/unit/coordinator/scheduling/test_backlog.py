"""What is left for steps: counted once an image, in work once a visit."""

from __future__ import annotations

from typing import Any

from penstock.common.model.jobs import JobState
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.ports.scheduler import Backlog
from penstock.coordinator.scheduling.backlog import UNMEASURED_SECS, count_left, measure_backlog
from penstock.coordinator.scheduling.leader_status import Snapshot

PLAN = ("resize", "blur", "split", "blur", "encode")


class View(Snapshot):
    """Positions and speeds as a test likes them."""

    def __init__(self, positions: list[tuple[int, int]], **secs: float) -> None:
        super().__init__()
        self._jobs = {"a": {"positions": positions}}
        self._steps = {step: (each, None) for step, each in secs.items()}


def job(plan: tuple[str, ...] = PLAN, **counts: int) -> Job:
    return Job("a", JobState.RUNNING, StoredPlan.read({"op": step} for step in plan), {}, 0.0, **counts)


def backlog(steps: str, found: Job, view: Any, workers: int = 0) -> Backlog:
    return measure_backlog(steps.split(","), [found], view, lambda _: workers)


def test_an_image_is_left_for_a_step_until_it_has_passed_it() -> None:
    view = View([(2, 1), (0, 0), (0, 4), (0, 0), (1, 0)], resize=0.5, blur=2.0)
    found = job(pending=10, queued=3, running=5)
    left = {"resize": (13, 6.5), "blur": (13 + 17, 60.0), "split": (17, 0.0), "encode": (18, 0.0)}
    assert count_left([found], view) == left
    assert backlog("resize", found, view, 3) == Backlog(("resize",), 6.5, 13, 3)
    assert backlog("blur", found, view) == Backlog(("blur",), (13 + 17) * 2.0, 17, 0)
    assert backlog("resize,blur", found, view).remaining == 17, "who has yet to pass either counts once"


def test_the_last_image_keeps_a_step_awake_until_it_is_past_it_and_no_longer() -> None:
    for index in range(4):
        view = View([(0, int(at == index)) for at in range(5)])
        assert backlog("blur", job(running=1), view).backlog_seconds > 0
    assert backlog("blur", job(running=1), View([(0, 0)] * 4 + [(1, 0)])) == Backlog(("blur",), 0.0, 0, 0)
    assert backlog("blur", job(done=1), View([])).backlog_seconds == 0


def test_work_that_was_never_measured_is_guessed_and_never_nothing() -> None:
    assert backlog("blur", job(("blur", "encode"), pending=3), View([])).backlog_seconds == 3 * UNMEASURED_SECS
    assert backlog("blur", job(("blur", "encode"), pending=3), View([], blur=0.0)).backlog_seconds > 0


def test_a_step_that_no_open_job_names_has_nothing_left() -> None:
    assert backlog("split", job(("blur", "encode"), pending=3), View([])) == Backlog(("split",), 0.0, 0, 0)

"""Repository contract: groups wait for their images, run once when all have ended, and again after a retry."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import Event, Failure, Outcome, Result, StepTime
from penstock.common.model.plan import GROUP_IDS
from penstock.coordinator.ports.repository import ALL_OWNERS, Image, Job, Repository, StoredPlan

PLAN = [
    {"op": "gather", "by": "folder", "operations": 2},
    {"op": "resize"},
    {"op": "encode"},
    {"op": "contact-sheet"},
    {"op": "encode"},
]
NORTH, SOUTH = GROUP_IDS, GROUP_IDS + 1
PENDING, QUEUED, RUNNING, DONE, FAILED, CANCELLED = ImageState


def create(repository: Repository, *, failed: tuple[int, ...] = ()) -> None:
    """Create a job of four images in two groups; those in `failed` have failed before."""
    job = Job("job", JobState.RECEIVING, StoredPlan(PLAN), {}, created_at=1.5)
    repository.create_job(job)
    error = {"code": "empty_file", "message": "", "step": "decode", "retry": False}
    images = []
    for image in range(4):
        name = f"{'north' if image < 2 else 'south'}/{image}"
        state: dict[str, Any] = {"state": FAILED, "error": error} if image in failed else {}
        images.append(Image(image, f"{name}.jpg", name, f"uploads/u/{image}", group=NORTH + image // 2, **state))
    for number, folder in enumerate(("north", "south")):
        waits_for = sum(image.group == NORTH + number and image.state is PENDING for image in images)
        sheet = f"{folder}/contact-sheet"
        images.append(Image(NORTH + number, sheet, sheet, "", resume_step=2, waits_for=waits_for))
    repository.add_images("job", images)
    repository.accept_job("job")


def done(*images: int, run: int = 0, key: str = "results") -> Event:
    outcomes = []
    for image in images:
        name = f"{image}.jpg"
        size = {"size": 10, "media_type": "image/jpeg", "width": 4, "height": 3, "sha256": "ab" * 32}
        steps = (2, 3) if image >= GROUP_IDS else (0, 1)
        timings = [StepTime(step=step, wait=1.0, work=2.0) for step in steps]
        results = [Result(key=f"{key}/{name}", name=name, **size)]
        outcomes.append(Outcome(id=image, state="done", results=results, timings=timings))
    return Event(kind="finished", job="job", run=run, chunk="c", outcomes=outcomes)


def failed(*images: int, run: int = 0, retry: bool = True) -> Event:
    outcomes = []
    for image in images:
        step, name = (2, "contact-sheet") if image >= GROUP_IDS else (0, "resize")
        failure = Failure(code="step_timeout", message="slow", step=name, retry=retry, step_index=step)
        outcomes.append(Outcome(id=image, state="failed", error=failure))
    return Event(kind="finished", job="job", run=run, chunk="c", outcomes=outcomes)


def take(repository: Repository) -> list[int]:
    return [image.id for image in repository.take_pending("job", 100)]


def check(repository: Repository) -> Job:
    """Check that the job's counters agree with its images; return it."""
    job = repository.get_job("job", ALL_OWNERS)
    assert job is not None
    images = repository.list_images("job", limit=100)
    for state in ImageState:
        assert getattr(job, state.value) == sum(image.state is state for image in images)
        assert repository.list_images("job", state=state, limit=100) == [each for each in images if each.state is state]
    ended = (DONE, FAILED)
    for start, end, are_groups in ((0, 2, False), (2, 4, True)):
        mine = [image for image in images if (image.id >= GROUP_IDS) is are_groups]
        for step in job.steps[start:end]:
            assert step.done + step.failed <= sum(image.state in ended for image in mine)
        assert [step.done for step in job.steps[start:end]] == [sum(image.state is DONE for image in mine)] * 2
        assert job.steps[start].failed == sum(image.state is FAILED for image in mine)
    groups = [image for image in images if image.id >= GROUP_IDS]
    assert job.result_bytes == sum(result.size for image in images for result in image.results)
    if job.state is not JobState.CANCELLED:
        assert job.open_groups == sum(group.state not in ended for group in groups)
        assert job.waiting_groups == sum(bool(group.waits_for) for group in groups)
        for group in groups:
            members = [image for image in images if image.group == group.id]
            assert group.waits_for == sum(image.state not in ended for image in members)
    return job


def test_a_group_is_dispatched_once_all_its_images_have_ended(repository):
    create(repository)
    assert take(repository) == [0, 1, 2, 3]
    assert take(repository) == []
    repository.apply([done(0, 2)])
    assert (take(repository), check(repository).dispatchable) == ([], 0)
    repository.apply([failed(1)])
    assert [job.id for job in repository.dispatchable()] == ["job"]
    assert take(repository) == [NORTH]
    assert repository.dispatchable() == []
    assert repository.in_flight("job") == {3: 0, NORTH: 2}
    repository.apply([done(3), done(NORTH)])
    assert take(repository) == [SOUTH]
    assert check(repository).state is JobState.RUNNING
    [applied] = repository.apply([done(SOUTH)])
    assert applied.finished
    assert check(repository).state is JobState.PARTIAL


def test_outcomes_that_arrive_again_are_not_counted_again(repository):
    create(repository)
    take(repository)
    repository.apply([done(0), done(0)])
    repository.apply([done(0)])
    assert take(repository) == []
    repository.apply([done(0, 1), done(1)])
    assert take(repository) == [NORTH]
    repository.apply([done(NORTH), failed(NORTH)])
    repository.apply([done(NORTH)])
    assert check(repository).open_groups == 1


def test_a_requeued_group_is_dispatched_again(repository):
    create(repository)
    take(repository)
    repository.apply([done(0, 1)])
    assert take(repository) == [NORTH]
    assert repository.requeue_in_flight() == 3
    assert take(repository) == [2, 3, NORTH]
    check(repository)


def test_images_that_failed_before_are_not_waited_for(repository):
    create(repository, failed=(0, 1, 2))
    assert check(repository).state is JobState.ACCEPTED
    assert take(repository) == [3, NORTH]
    repository.apply([failed(NORTH), done(3)])
    assert take(repository) == [SOUTH]
    repository.apply([done(SOUTH)])
    assert check(repository).state is JobState.PARTIAL


def test_members_are_those_that_are_done_in_the_order_of_names(repository):
    create(repository)
    take(repository)
    repository.apply([done(3, 2, 0), failed(1)])
    assert [image.name for image in repository.list_members("job", SOUTH, limit=9)] == ["south/2.jpg", "south/3.jpg"]
    assert [image.name for image in repository.list_members("job", SOUTH, limit=1)] == ["south/2.jpg"]
    assert [image.id for image in repository.list_members("job", SOUTH, after="south/2.jpg", limit=9)] == [3]
    assert [image.id for image in repository.list_members("job", NORTH, limit=9)] == [0]


@pytest.mark.parametrize("images", [None, [1]])
def test_the_group_of_a_retried_image_runs_again_and_its_earlier_results_are_stale(repository, images):
    create(repository)
    take(repository)
    repository.apply([done(0, 2, 3), failed(1)])
    take(repository)
    repository.apply([done(NORTH, SOUTH)])
    assert check(repository).result_bytes == 50
    job, count = repository.retry_job("job", images)
    assert (job.state, job.run, count) == (JobState.RUNNING, 1, 2)
    assert check(repository).result_bytes == 40
    north = repository.get_image("job", NORTH)
    assert (north.state, north.results, north.waits_for, north.resume_step) == (PENDING, [], 1, 2)
    assert take(repository) == [1]
    repository.apply([done(NORTH), done(1)])
    assert take(repository) == [], "outcomes of an earlier run change nothing"
    repository.apply([done(1, run=1)])
    [north] = repository.take_pending("job", 9)
    assert [result.key for result in north.stale_results] == [f"results/{NORTH}.jpg"]
    [applied] = repository.apply([done(NORTH, run=1, key="results/.run-1")])
    [result] = repository.get_image("job", NORTH).results
    assert result.key == f"results/.run-1/{NORTH}.jpg"
    assert (applied.finished, check(repository).state) == (True, JobState.SUCCEEDED)
    assert check(repository).result_bytes == 60


def test_a_failed_group_is_retried_without_its_images(repository):
    create(repository)
    take(repository)
    repository.apply([done(0, 1, 2, 3)])
    take(repository)
    repository.apply([failed(NORTH), done(SOUTH)])
    assert check(repository).state is JobState.PARTIAL
    assert repository.retry_job("job")[1] == 1
    assert check(repository).open_groups == 1
    assert take(repository) == [NORTH]
    repository.apply([done(NORTH, run=1)])
    assert check(repository).state is JobState.SUCCEEDED


@pytest.mark.parametrize("retry", [{}, {"images": [NORTH, 0, 1]}, {"code": "step_timeout"}, {"everything": True}])
def test_a_failed_group_is_retried_with_its_images(repository, retry):
    create(repository)
    take(repository)
    repository.apply([failed(0, 1), done(2, 3)])
    take(repository)
    repository.apply([failed(NORTH), done(SOUTH)])
    assert repository.retry_job("job", **retry)[1] == 3
    assert check(repository).waiting_groups == 1
    assert take(repository) == [0, 1]
    repository.apply([done(0, run=1)])
    assert take(repository) == []
    repository.apply([failed(1, run=1)])
    assert take(repository) == [NORTH]
    repository.apply([done(NORTH, run=1)])
    assert check(repository).state is JobState.PARTIAL


def test_a_retry_that_fails_again_leaves_no_earlier_results(repository):
    create(repository)
    take(repository)
    repository.apply([done(0, 2, 3), failed(1)])
    take(repository)
    repository.apply([done(NORTH, SOUTH)])
    repository.retry_job("job")
    take(repository)
    repository.apply([failed(1, run=1)])
    take(repository)
    repository.apply([failed(NORTH, run=1)])
    north = repository.get_image("job", NORTH)
    assert (north.results, north.stale_results) == ([], [])
    assert check(repository).state is JobState.PARTIAL


def test_groups_are_cancelled_with_their_job(repository):
    create(repository)
    take(repository)
    repository.apply([done(0, 1)])
    assert take(repository) == [NORTH]
    repository.cancel_job("job")
    assert [image.state for image in repository.list_images("job", limit=9)] == [DONE, DONE, *[CANCELLED] * 4]
    [applied] = repository.apply([done(NORTH)])
    assert applied.stale_results == [f"results/{NORTH}.jpg"]
    job = check(repository)
    assert (job.open_groups, job.waiting_groups, job.cancelled) == (0, 0, 4)

"""The conductor: what starts over after a death, what a cancel, a retry and a deletion leave, and how steps stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Outcome, StepTime, step_queue
from penstock.common.store.keys import cancellation_key, work_key
from penstock.coordinator.ports.repository import ConflictError, JobNotFoundError
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.scheduler import JobScheduler

SETTINGS = DispatchSettings(workers=2, processes=2)
HOUSEKEEPING = ReconcilerSettings()


@pytest.fixture
def conduct(house: Any) -> Iterator[Callable[..., JobScheduler]]:
    """Start a conductor."""
    started: list[JobScheduler] = []

    def start(store: Any = house.store, repository: Any = house.repository) -> JobScheduler:
        conductor = JobScheduler(repository, store, house.broker, SETTINGS, HOUSEKEEPING)
        conductor.begin()
        started.append(conductor)
        return conductor

    yield start
    for conductor in started:
        conductor.end()


def conductor_of(house: Any) -> JobScheduler:
    """A conductor at rest."""
    return JobScheduler(house.repository, house.store, house.broker, SETTINGS, HOUSEKEEPING)


def put(house: Any, *keys: str) -> None:
    for key in keys:
        house.store.put(key, [b"x"])


def keys(house: Any) -> set[str]:
    prefixes = ("work", "results", "resume", "cancelled", "plans", "uploads")
    return {key for prefix in prefixes for key in house.store.list(prefix)}


def ended(house: Any, name: str, *, failed: bool = False, **fields: Any) -> None:
    house.job(name, 1, **fields)
    house.repository.take_pending(name, 1)
    house.repository.apply([house.failed(name, 0) if failed else house.done(name, 0)])


def test_after_a_death_images_under_way_start_again_and_orphans_go(house: Any) -> None:
    house.job("open", 3, upload="u1")
    house.repository.take_pending("open", 2)
    ended(house, "good", upload="u2")
    ended(house, "bad", failed=True)
    kept = {"results/open/0-0.jpg", "results/good/0-0.jpg", "resume/bad/0-0", "plans/open.json", "uploads/u1/0"}
    gone = {
        work_key("open", "0-c", 1), "results/deleted/0-0.jpg", "resume/good/0-0", "resume/deleted/0-0",
        "cancelled/deleted", "plans/deleted.json", "uploads/u3/0",
    }  # fmt: skip
    put(house, *kept, *gone, "uploads/u2/0")
    conductor_of(house).recover()
    assert keys(house) == kept | {"uploads/u2/0"}
    assert (house.row("open").pending, house.row("open").queued) == (3, 0)


def test_a_tombstone_that_a_death_left_without_its_cancel_does_not_hold_the_job_up(house: Any) -> None:
    house.job("a", 1)
    put(house, cancellation_key("a"))
    conductor_of(house).recover()
    assert house.store.size(cancellation_key("a")) is None


def test_cancel_ends_the_job_and_removes_what_was_on_its_way(house: Any) -> None:
    house.job("a", 3)
    put(house, work_key("a", "0-c", 1), "resume/a/0-1")
    conductor = conductor_of(house)
    assert conductor.cancel("a").state == JobState.CANCELLED
    assert keys(house) == {cancellation_key("a")}
    assert conductor.cancel("a").state == JobState.CANCELLED, "again is as well"


def test_a_job_that_cannot_be_cancelled_gets_no_tombstone(house: Any) -> None:
    ended(house, "a")
    conductor = conductor_of(house)
    with pytest.raises(ConflictError):
        conductor.cancel("a")
    with pytest.raises(JobNotFoundError):
        conductor.cancel("nobody's")
    assert "cancelled/a" not in keys(house)


def test_a_cancel_that_the_database_could_not_note_leaves_the_job_as_it_was(house: Any, stumbling: Any) -> None:
    house.job("a", 1)
    repository = stumbling(house.repository)
    repository.trouble["cancel_job"] = [UnavailableError("database", "away")]
    conductor = JobScheduler(repository, house.store, house.broker, SETTINGS, HOUSEKEEPING)
    with pytest.raises(UnavailableError):
        conductor.cancel("a")
    assert keys(house) == set(), "a tombstone would make every worker pass over a job that is still open"


def test_a_cancel_holds_although_the_store_is_away(house: Any, stumbling: Any) -> None:
    house.job("a", 1)
    store = stumbling(house.store)
    store.trouble = {"put": [UnavailableError("store", "away")], "delete_prefix": [UnavailableError("store", "away")]}
    conductor = JobScheduler(house.repository, store, house.broker, SETTINGS, HOUSEKEEPING)
    assert conductor.cancel("a").state == JobState.CANCELLED


def test_late_results_of_a_cancelled_job_are_removed(house: Any, conduct: Callable[..., JobScheduler]) -> None:
    conductor = conduct()
    house.job("a", 2)
    conductor.wake()
    house.wait_until(lambda: house.row("a").queued == 2)
    conductor.cancel("a")
    house.tell(house.done("a", 0))
    house.wait_until(lambda: keys(house) == {cancellation_key("a")})
    assert house.row("a").done == 0


def test_the_first_failure_cancels_a_job_that_wants_it(house: Any, conduct: Callable[..., JobScheduler]) -> None:
    conductor = conduct()
    house.job("a", 5, on_failure="cancel")
    conductor.wake()
    house.wait_until(lambda: house.row("a").queued == 5)
    house.tell(house.failed("a", 3))
    house.wait_until(lambda: house.row("a").state == JobState.CANCELLED)
    assert (house.row("a").failed, house.row("a").cancelled) == (1, 4)


def test_a_job_that_has_ended_leaves_nothing_but_its_results(house: Any, conduct: Callable[..., JobScheduler]) -> None:
    conductor = conduct()
    house.job("a", 1)
    conductor.wake()
    house.wait_until(lambda: house.row("a").queued == 1)
    put(house, work_key("a", "0-c", 1), "resume/a/0-0")
    house.tell(house.done("a", 0))
    house.wait_until(lambda: keys(house) == {"results/a/0-0.jpg"})
    assert conductor.live("a") == []


def test_a_store_that_is_away_when_a_job_ends_does_not_stop_the_next_one(
    house: Any, stumbling: Any, conduct: Callable[..., JobScheduler]
) -> None:
    store = stumbling(house.store)
    store.trouble["delete_prefix"] = [UnavailableError("store", "away")] * 2
    conductor = conduct(store)
    for name in ("a", "b", "c"):
        house.job(name, 1)
        conductor.wake()
        house.wait_until(lambda name=name: house.row(name).queued == 1)
        house.tell(house.done(name, 0))
        house.wait_until(lambda name=name: house.row(name).state == JobState.SUCCEEDED)
        house.wait_until(lambda name=name: conductor.live(name) == [])


def test_deletion_takes_everything_but_an_upload_that_another_job_reads(house: Any) -> None:
    ended(house, "a", upload="u")
    ended(house, "b", upload="u")
    put(house, "uploads/u/0", "resume/a/0-0", "plans/a.json", work_key("a", "0-c", 1))
    conductor = conductor_of(house)
    conductor.delete("a")
    assert keys(house) == {"uploads/u/0", "results/b/0-0.jpg"}
    conductor.delete("b")
    assert keys(house) == set()


def test_a_cancelled_job_keeps_its_tombstone_when_it_is_deleted(house: Any) -> None:
    """Its chunks may be queued still, and would bring results that nobody removes."""
    house.job("a", 1)
    conductor = conductor_of(house)
    conductor.cancel("a")
    conductor.delete("a")
    assert keys(house) == {cancellation_key("a")}
    conductor_of(house).recover()
    assert keys(house) == set()


def test_a_retry_is_dispatched(house: Any, conduct: Callable[..., JobScheduler]) -> None:
    ended(house, "a", failed=True)
    conductor = conduct()
    job, count = conductor.retry("a", None)
    assert (job.run, count) == (1, 1)
    house.wait_until(lambda: house.row("a").queued == 1)


def test_steps_tell_what_is_left_for_them(house: Any, conduct: Callable[..., JobScheduler]) -> None:
    conductor = conduct()
    for step in ("resize", "blur", "blur", "encode"):
        house.broker.consume([step_queue(step)], 1)
    house.job("a", 100, chunk_size=1)
    conductor.wake()
    house.wait_until(lambda: house.row("a").queued == 8)
    times = [StepTime(step=0, wait=0.0, work=0.1), StepTime(step=1, wait=0.0, work=0.4)]
    outcomes = [Outcome(id=0, state="done", timings=times)]
    house.tell(Event(kind="stepped", job="a", chunk="c", step=1, images=[1, 2]))
    house.tell(Event(kind="finished", job="a", chunk="c", outcomes=outcomes))
    house.wait_until(lambda: house.row("a").done == 1)
    steps = {status.name: status for status in conductor.steps()}
    assert steps["resize"].remaining == 97
    assert steps["blur"].remaining == 99
    assert (steps["blur"].workers, steps["blur"].backlog_seconds) == (2, pytest.approx(99 * 0.4))
    assert (steps["split"].remaining, steps["split"].backlog_seconds) == (0, None)
    assert steps["resize"].ready >= 7
    assert conductor.images_per_second("a") > 0

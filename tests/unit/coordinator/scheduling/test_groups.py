"""Groups: dispatched with a listing of the images that succeeded, or failed without any."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from coordinator_fixture import CoordinatorFixture, inject_faults
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.model.groups import listing_key, read_members
from penstock.common.model.jobs import ImageState
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, Event, Failure, Outcome, read_events
from penstock.common.model.plan import GROUP_IDS
from penstock.coordinator.ports.repository import Image, Job
from penstock.coordinator.scheduling.backlog import remaining_visits
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.snapshot import Snapshot

PLAN = [
    {"op": "gather", "by": "folder", "operations": 2},
    {"op": "resize", "width": 8, "height": 8},
    {"op": "encode"},
    {"op": "contact-sheet"},
    {"op": "encode"},
]


def accept(coordinator: CoordinatorFixture, images: int = 3, **fields: Any) -> Job:
    """Accept a job of a group of images whose names are in the opposite order of their ids."""
    rows = [
        Image(number, f"{images - number:04}.jpg", f"{images - number:04}", f"uploads/u/{number}", group=GROUP_IDS)
        for number in range(images)
    ]
    rows[0] = replace(rows[0], labels=json.dumps({"region": "north"}))
    sheet = Image(GROUP_IDS, "contact-sheet", "contact-sheet", "", resume_step=2, waits_for=images)
    return coordinator.accept_job("a", [*rows, sheet], PLAN, **fields)


def dispatch_group(coordinator: CoordinatorFixture, dispatcher: Dispatcher) -> Chunk:
    assert dispatcher.dispatch_round() == 1
    found: list[Chunk] = []
    wait_until(lambda: bool(found.extend(coordinator.take_chunks("contact-sheet")) or found))
    return found[0]


def members(coordinator: CoordinatorFixture, chunk: Chunk) -> list[Any]:
    key = listing_key(chunk.images[0].ref)
    assert key is not None
    return list(read_members(coordinator.store.stream(key)))


def test_a_group_is_dispatched_with_the_listing_of_its_images(coordinator: CoordinatorFixture) -> None:
    accept(coordinator)
    dispatcher = coordinator.make_dispatcher(DispatchSettings(window_images=100))
    assert dispatcher.dispatch_round() == 3
    assert dispatcher.dispatch_round() == 0
    assert [image.stem for chunk in coordinator.take_chunks() for image in chunk.images] == ["0003", "0002", "0001"]
    coordinator.repository.apply([coordinator.done("a", 0, 2), coordinator.failed("a", 1)])
    chunk = dispatch_group(coordinator, dispatcher)
    assert (chunk.step, chunk.blob, chunk.results, [image.id for image in chunk.images]) == (
        2,
        None,
        "results/a",
        [GROUP_IDS],
    )
    listed = members(coordinator, chunk)
    assert [(member.name, member.labels) for member in listed] == [("0001.jpg", {}), ("0003.jpg", {"region": "north"})]
    assert [[result.key for result in member.results] for member in listed] == [
        ["results/a/2-0.jpg"],
        ["results/a/0-0.jpg"],
    ]


def test_a_listing_of_thousands_of_images_is_complete_and_ordered(coordinator: CoordinatorFixture) -> None:
    accept(coordinator, 2_500)
    dispatcher = coordinator.make_dispatcher(DispatchSettings(window_images=10_000, max_chunk=8))
    coordinator.repository.take_pending("a", 10_000)
    coordinator.repository.apply([coordinator.done("a", *range(2_500))])
    names = [member.name for member in members(coordinator, dispatch_group(coordinator, dispatcher))]
    assert names == [f"{number:04}.jpg" for number in range(1, 2_501)]


def test_a_group_without_images_fails(coordinator: CoordinatorFixture) -> None:
    accept(coordinator)
    dispatcher = coordinator.make_dispatcher()
    coordinator.repository.take_pending("a", 10)
    coordinator.repository.apply([coordinator.failed("a", 0, 1, 2)])
    assert dispatcher.dispatch_round() == 1
    events = coordinator.broker.consume([EVENTS_QUEUE], 1)
    delivery = events.get(10.0)
    assert delivery is not None
    [applied] = coordinator.repository.apply(read_events(delivery.body))
    assert (applied.finished, applied.job.failed, applied.job.retryable) == (True, 4, 4)
    group = coordinator.repository.get_image("a", GROUP_IDS)
    assert group is not None
    assert group.error == {
        "code": "no_images",
        "message": "no image of the group succeeded",
        "step": "contact-sheet",
        "retry": True,
    }


def test_a_group_in_a_later_run_has_another_listing_and_other_places_for_results(
    coordinator: CoordinatorFixture,
) -> None:
    accept(coordinator)
    dispatcher = coordinator.make_dispatcher()
    coordinator.repository.take_pending("a", 10)
    coordinator.repository.apply([coordinator.done("a", 0, 2), coordinator.failed("a", 1)])
    first = dispatch_group(coordinator, dispatcher)
    coordinator.repository.apply([coordinator.done("a", GROUP_IDS)])
    coordinator.repository.retry_job("a")
    coordinator.repository.take_pending("a", 10)
    coordinator.repository.apply([coordinator.done("a", 1, run=1)])
    assert coordinator.store.size(f"results/a/{GROUP_IDS}-0.jpg") == 1
    second = dispatch_group(coordinator, dispatcher)
    assert coordinator.store.size(f"results/a/{GROUP_IDS}-0.jpg") is None
    assert (second.run, second.results) == (1, "results/a/.run-1")
    assert [len(members(coordinator, chunk)) for chunk in (first, second)] == [2, 3]


def test_a_group_is_dispatched_once_the_store_is_back(coordinator: CoordinatorFixture) -> None:
    accept(coordinator)
    store = inject_faults(coordinator.store, upload=[UnavailableError("store", "away")] * 3)
    dispatcher = coordinator.make_dispatcher(store=store)
    coordinator.repository.take_pending("a", 10)
    coordinator.repository.apply([coordinator.done("a", 0, 1, 2)])
    assert len(members(coordinator, dispatch_group(coordinator, dispatcher))) == 3


def test_the_listing_is_deleted_with_the_job_s_intermediates(coordinator: CoordinatorFixture) -> None:
    accept(coordinator)
    dispatcher = coordinator.make_dispatcher()
    coordinator.repository.take_pending("a", 10)
    coordinator.repository.apply([coordinator.done("a", 0, 1, 2)])
    dispatch_group(coordinator, dispatcher)
    assert any(key.startswith("work/") for key in coordinator.stored_keys())
    coordinator.make_scheduler().cancel("a")
    assert not any(key.startswith("work/") for key in coordinator.stored_keys())


@pytest.mark.parametrize(("ended", "expected"), [([], [3, 3, 1, 1]), ([0, 1], [1, 1, 1, 1]), ([0, 1, 2], [0, 0, 1, 1])])
def test_groups_are_left_for_their_step_only(
    coordinator: CoordinatorFixture, ended: list[int], expected: list[int]
) -> None:
    accept(coordinator)
    coordinator.repository.take_pending("a", 10)
    coordinator.repository.apply([coordinator.done("a", *ended)])
    job = coordinator.get_job("a")
    assert [images for _, images, _ in remaining_visits(job, Snapshot())] == expected
    assert coordinator.repository.list_images("a", state=ImageState.PENDING, limit=9)[-1].id == GROUP_IDS


def test_a_group_that_failed_later_without_an_intermediate_starts_from_its_listing(
    coordinator: CoordinatorFixture,
) -> None:
    accept(coordinator)
    dispatcher = coordinator.make_dispatcher()
    coordinator.repository.take_pending("a", 10)
    coordinator.repository.apply([coordinator.done("a", 0, 1, 2)])
    dispatch_group(coordinator, dispatcher)
    failure = Failure(code="step_crashed", message="", step="encode", retry=True, step_index=3)
    outcome = Outcome(id=GROUP_IDS, state="failed", error=failure)
    coordinator.repository.apply([Event(kind="finished", job="a", chunk="c", outcomes=[outcome])])
    coordinator.repository.retry_job("a")
    chunk = dispatch_group(coordinator, dispatcher)
    assert (chunk.step, len(members(coordinator, chunk))) == (2, 3)

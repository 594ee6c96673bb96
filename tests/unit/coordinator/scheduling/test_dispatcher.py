"""Dispatcher: a window for each job, chunks of the right size, and nothing taken without being published."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from coordinator_fixture import CoordinatorFixture, inject_faults
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, Event, Outcome, StepTime, read_events
from penstock.common.model.regions import Region
from penstock.common.sidecars import write_regions
from penstock.coordinator.database.job_creation import IMAGES_PER_BATCH
from penstock.coordinator.ports.repository import Image
from penstock.coordinator.ports.unstored_jobs import VOLATILE
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.in_flight import InFlight


@pytest.fixture
def start() -> Iterator[Callable[[Dispatcher], None]]:
    """Starts dispatchers' threads, and stops them at the end."""
    started: list[Dispatcher] = []

    def start_thread(dispatcher: Dispatcher) -> None:
        started.append(dispatcher)
        dispatcher.start()

    yield start_thread
    for dispatcher in started:
        dispatcher.stop()


def test_a_chunk_has_all_that_a_worker_needs(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 1)
    coordinator.make_dispatcher().dispatch_round()
    [chunk] = coordinator.take_chunks()
    assert (chunk.job, chunk.run, chunk.step, chunk.blob, chunk.results) == ("a", 0, 0, None, "results/a")
    assert chunk.plan == coordinator.get_job("a").plan.operations
    assert [(image.id, image.stem, image.ref) for image in chunk.images] == [(0, "0", "uploads/u/0")]
    assert coordinator.get_job("a").queued == 1
    assert coordinator.in_flight.count("a") == 1


@pytest.mark.parametrize("document", [{}, {VOLATILE: True}])
def test_a_chunk_says_whether_results_may_be_lost(coordinator: CoordinatorFixture, document: dict[str, bool]) -> None:
    coordinator.accept_job("a", 1, document=document)
    coordinator.make_dispatcher().dispatch_round()
    [chunk] = coordinator.take_chunks()
    assert chunk.volatile == bool(document)


def test_a_job_has_no_more_images_in_flight_than_its_window(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 100, chunk_size=2)
    dispatcher = coordinator.make_dispatcher(DispatchSettings(workers=2, processes=2, window_images=6))
    assert [dispatcher.dispatch_round(), dispatcher.dispatch_round()] == [12, 0]
    assert [len(chunk.images) for chunk in coordinator.take_chunks()] == [2] * 6


def test_the_window_is_refilled_when_half_of_it_is_free(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 100, chunk_size=1)
    dispatcher = coordinator.make_dispatcher()
    dispatcher.dispatch_round()
    for image, dispatched in ((0, 0), (1, 2)):
        coordinator.in_flight.apply(
            [Event(kind="finished", job="a", chunk="c", outcomes=[Outcome(id=image, state="done")])]
        )
        assert dispatcher.dispatch_round() == dispatched


def test_chunks_of_a_small_job_have_one_image_and_those_of_a_large_job_several(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("few", 2)
    coordinator.make_dispatcher(DispatchSettings(workers=2, processes=2)).dispatch_round()
    assert [len(chunk.images) for chunk in coordinator.take_chunks()] == [1, 1]
    coordinator.accept_job("many", 1_000)
    coordinator.make_dispatcher(DispatchSettings(workers=2, processes=2)).dispatch_round()
    assert {len(chunk.images) for chunk in coordinator.take_chunks() if chunk.job == "many"} == {8}


def test_chunks_of_slow_images_have_one_image(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("slow", 1_000)
    measure_first_step(coordinator, "slow", 2.0)
    coordinator.make_dispatcher().dispatch_round()
    assert {len(chunk.images) for chunk in coordinator.take_chunks()} == {1}


def measure_first_step(coordinator: CoordinatorFixture, name: str, secs: float) -> None:
    """Record that an image of a job took `secs` in its first step."""
    coordinator.in_flight.add_dispatched(coordinator.get_job(name), [(10_000, 0)])
    outcome = Outcome(id=10_000, state="done", timings=[StepTime(step=0, wait=0.0, work=secs)])
    coordinator.in_flight.apply([Event(kind="finished", job=name, chunk="c", outcomes=[outcome])])


@pytest.mark.parametrize(
    ("secs", "chunk_size", "images"),
    [(0.004, 1, 30), (0.0001, 1, 32), (0.004, None, 30), (0.02, None, 6), (5.0, None, 2), (5.0, 8, 16)],
)
def test_the_window_is_a_tenth_of_a_second_of_work_per_worker_or_two_chunks(
    coordinator: CoordinatorFixture, secs: float, chunk_size: int | None, images: int
) -> None:
    coordinator.accept_job("a", 1_000, chunk_size=chunk_size)
    measure_first_step(coordinator, "a", secs)
    assert coordinator.make_dispatcher().dispatch_round() == images


def test_messages_stay_under_4_kb_with_long_names(coordinator: CoordinatorFixture) -> None:
    images = [Image(i, f"{i}", f"{i:03}" + "ü" * 110, f"file:///{'p' * 300}/{i}") for i in range(64)]
    coordinator.accept_job("a", images, chunk_size=64)
    coordinator.make_dispatcher().dispatch_round()
    chunks = coordinator.take_chunks()
    assert sum(len(chunk.images) for chunk in chunks) == 64
    assert max(len(chunk.model_dump_json().encode()) for chunk in chunks) < 4_096


def test_a_long_plan_travels_as_a_reference(coordinator: CoordinatorFixture) -> None:
    plan = [{"op": "blur", "method": "median"}] * 60 + [{"op": "encode"}]
    coordinator.accept_job("a", 1, plan=plan)
    coordinator.make_dispatcher().dispatch_round()
    [chunk] = coordinator.take_chunks("blur")
    assert chunk.plan == "plans/a.json"
    assert json.loads(coordinator.store.get("plans/a.json")) == plan


def test_the_same_images_dispatched_again_have_the_same_chunk_name(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 6, chunk_size=3)
    coordinator.make_dispatcher().dispatch_round()
    before = [chunk.chunk for chunk in coordinator.take_chunks()]
    coordinator.repository.requeue_in_flight()
    coordinator.make_dispatcher(in_flight=InFlight()).dispatch_round()
    assert [chunk.chunk for chunk in coordinator.take_chunks()] == before
    assert len(set(before)) == 2


def test_retried_images_resume_where_they_failed(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 2)
    coordinator.repository.take_pending("a", 2)
    coordinator.repository.apply([coordinator.failed("a", 0, blob="resume/a/0-0"), coordinator.done("a", 1)])
    coordinator.repository.retry_job("a")
    coordinator.make_dispatcher().dispatch_round()
    assert coordinator.take_chunks("resize") == []
    [chunk] = coordinator.take_chunks("blur")
    assert (chunk.step, chunk.blob, chunk.run) == (1, "resume/a/0-0", 1)


def test_a_job_of_higher_priority_is_dispatched_first(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("low", 50, chunk_size=1)
    coordinator.accept_job("high", 5, chunk_size=1, priority=1)
    dispatcher = coordinator.make_dispatcher()
    dispatcher.dispatch_round()
    assert {chunk.job for chunk in coordinator.take_chunks()} == {"high"}


def test_a_new_job_does_not_catch_up_on_what_older_jobs_were_served(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("old", 400, chunk_size=1)
    dispatcher = coordinator.make_dispatcher()
    dispatcher.dispatch_round()
    coordinator.accept_job("new", 400, chunk_size=1)
    dispatcher.dispatch_round()
    assert dispatcher._served["new"] >= 4.0


OUTPUTS = [{"op": "outputs", "outputs": [{"name": "a", "operations": 1}, {"name": "b", "operations": 2}]}]
ENCODE = {"op": "encode"}


def test_all_outputs_of_a_source_are_in_one_message(coordinator: CoordinatorFixture) -> None:
    plan = [*OUTPUTS, {"op": "resize", "width": 8, "height": 8}, ENCODE, {"op": "split"}, ENCODE]
    images = [Image(number, f"{number}.jpg", str(number), f"uploads/u/{number // 2}") for number in range(40)]
    coordinator.accept_job("a", images, plan, chunk_size=3)
    coordinator.make_dispatcher(DispatchSettings(window_images=7)).dispatch_round()
    chunks = [[image.id for image in chunk.images] for chunk in coordinator.take_chunks()]
    assert chunks[:2] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert all(len(ids) % 2 == 0 and ids[0] % 2 == 0 for ids in chunks)


def test_each_output_counts_the_operations_that_it_passes(coordinator: CoordinatorFixture) -> None:
    plan = [*OUTPUTS, {"op": "resize", "width": 8, "height": 8}, ENCODE, {"op": "split"}, ENCODE]
    coordinator.accept_job("a", 4, plan)
    coordinator.repository.take_pending("a", 4)
    failed = coordinator.failed("a", 1)
    failed.outcomes[0].error.step_index = 2
    coordinator.repository.apply([coordinator.done("a", 0, 2, 3), failed])
    counted = [(step.done, step.failed) for step in coordinator.get_job("a").steps]
    assert counted == [(4, 0), (2, 0), (1, 1), (1, 0)]
    coordinator.repository.retry_job("a", [1])
    assert [(step.done, step.failed) for step in coordinator.get_job("a").steps] == [(3, 0), (2, 0), (1, 0), (1, 0)]


def test_images_of_a_step_that_is_not_installed_fail_and_other_jobs_go_on(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("gone", 3, plan=[{"op": "vanished"}, {"op": "encode"}])
    coordinator.accept_job("fine", 1)
    coordinator.make_dispatcher().dispatch_round()
    assert [chunk.job for chunk in coordinator.take_chunks()] == ["fine"]
    events = coordinator.broker.consume([EVENTS_QUEUE], 100)
    outcomes = []
    while delivery := events.get(0.0):
        outcomes += [outcome for event in read_events(delivery.body) for outcome in event.outcomes]
    assert sorted(outcome.id for outcome in outcomes) == [0, 1, 2]
    assert outcomes[0].error is not None
    assert outcomes[0].error.message == "no step 'vanished' is installed here"
    assert outcomes[0].error.retry is True


def test_no_images_are_taken_while_the_plan_cannot_be_stored(coordinator: CoordinatorFixture) -> None:
    coordinator.accept_job("a", 2, plan=[{"op": "blur", "method": "median"}] * 60 + [{"op": "encode"}])
    store = inject_faults(coordinator.store, put=[UnavailableError("store", "unreachable")])
    dispatcher = coordinator.make_dispatcher(store=store)
    with pytest.raises(UnavailableError):
        dispatcher.dispatch_round()
    assert coordinator.get_job("a").pending == 2
    assert dispatcher.dispatch_round() == 2


def test_taken_images_are_published_when_the_broker_is_back(
    coordinator: CoordinatorFixture, start: Callable[[Dispatcher], None]
) -> None:
    coordinator.accept_job("a", 3, chunk_size=1)
    broker = inject_faults(coordinator.broker, publish=[UnavailableError("broker", "unreachable")] * 2)
    start(coordinator.make_dispatcher(broker=broker))
    found: list[Chunk] = []
    wait_until(lambda: found.extend(coordinator.take_chunks()) or len(found) == 3)
    assert [chunk.images[0].id for chunk in found] == [0, 1, 2]


def test_a_new_job_has_room_while_nothing_waits_and_the_window_is_not_full(coordinator: CoordinatorFixture) -> None:
    job = coordinator.accept_job("a", 5, chunk_size=1)
    dispatcher = coordinator.make_dispatcher(DispatchSettings(workers=1, processes=1, window_images=4))
    assert not dispatcher.has_room(job), "nothing is known before the first round"
    dispatcher.dispatch_round()
    assert not dispatcher.has_room(job), "an image waits"
    coordinator.in_flight.apply([coordinator.done("a", 0, 1)])
    dispatcher.dispatch_round()
    assert dispatcher.has_room(job)
    dispatcher.dispatch(job, [Image(5, "5.jpg", "5", "uploads/u/5")])
    assert not dispatcher.has_room(job), "the window is full"


@pytest.mark.parametrize("error", [UnavailableError("database", "unreachable"), RuntimeError("unexpected")])
def test_the_thread_survives_errors_of_the_database(
    coordinator: CoordinatorFixture, start: Callable[[Dispatcher], None], error: Exception
) -> None:
    coordinator.accept_job("a", 3, chunk_size=1)
    repository = inject_faults(coordinator.repository, dispatchable=[error, error], take_pending=[error])
    start(coordinator.make_dispatcher(repository=repository))
    found: list[Chunk] = []
    wait_until(lambda: found.extend(coordinator.take_chunks()) or len(found) == 3)


def test_work_is_found_by_polling_as_well(coordinator: CoordinatorFixture, start: Callable[[Dispatcher], None]) -> None:
    start(coordinator.make_dispatcher(DispatchSettings(poll_secs=0.01)))
    coordinator.accept_job("a", 1)
    wait_until(lambda: coordinator.in_flight.count("a") == 1)


def test_packed_images_are_unpacked_once_windows_are_full(
    coordinator: CoordinatorFixture, start: Callable[[Dispatcher], None]
) -> None:
    total = 2 * IMAGES_PER_BATCH + 1
    coordinator.accept_job("a", total, chunk_size=2)
    start(coordinator.make_dispatcher(DispatchSettings(workers=1, processes=1, window_images=6)))
    wait_until(lambda: coordinator.get_job("a").packed == 0)
    job = coordinator.get_job("a")
    assert (job.queued, job.pending) == (6, total - 6)


def test_stop_ends_the_thread(coordinator: CoordinatorFixture) -> None:
    dispatcher = coordinator.make_dispatcher()
    dispatcher.start()
    dispatcher.wake()
    dispatcher.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "dispatcher"]


def test_images_are_sent_with_their_regions_or_where_those_are(coordinator: CoordinatorFixture) -> None:
    regions = (Region(box=(1, 2, 3, 4), label="face"),)
    given = [None, write_regions(regions), "uploads/u/9", "[]"]
    images = [Image(number, f"{number}.jpg", f"{number}", "u", regions=each) for number, each in enumerate(given)]
    coordinator.accept_job("a", images, chunk_size=4)
    coordinator.make_dispatcher().dispatch_round()
    [chunk] = coordinator.take_chunks()
    assert [image.regions for image in chunk.images] == [(), regions, "uploads/u/9", ()]


def test_images_with_many_regions_go_into_smaller_chunks(coordinator: CoordinatorFixture) -> None:
    regions = write_regions((Region(box=(1, 2, 3, 4), label="face"),) * 20)
    images = [Image(number, f"{number}.jpg", f"{number}", "u", regions=regions) for number in range(4)]
    coordinator.accept_job("a", images, chunk_size=4)
    coordinator.make_dispatcher().dispatch_round()
    assert [len(chunk.images) for chunk in coordinator.take_chunks()] == [2, 2]

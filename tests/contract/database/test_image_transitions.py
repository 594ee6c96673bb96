"""Repository contract: every image ends once, even if events arrive twice, late or out of order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import CacheStats

from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import Event, Outcome, read_events, write_events
from penstock.common.model.regions import Place, Region
from penstock.coordinator.database.queries import PAGE_BYTES
from penstock.coordinator.ports.repository import ALL_OWNERS, ConflictError, StepTotals

PENDING, QUEUED, RUNNING, DONE, FAILED, CANCELLED = ImageState
OPEN = (PENDING, QUEUED, RUNNING)


def test_results_keep_their_regions_and_warnings(driver, repository):
    driver.accepted(images=2)
    regions = (Region(box=(0.1, 2, 3, 4), label="face", score=0.9), Region(polygon=((0, 0), (5, 0), (5, 2.5))))
    result = driver.result("job-1", 0).model_copy(update={"regions": regions, "warnings": ("depth_reduced",)})
    event = Event(kind="finished", job="job-1", chunk="c", outcomes=[Outcome(id=0, state="done", results=[result])])
    repository.apply(read_events(write_events([event, driver.done("job-1", 1)])))
    assert [image.results for image in driver.rows()] == [[result], [driver.result("job-1", 1)]]


def test_pending_images_are_taken_once_and_in_order(driver, repository):
    driver.accepted(images=5)
    first = repository.take_pending("job-1", 2)
    assert first == [driver.image(0), driver.image(1)]
    assert [image.id for image in repository.take_pending("job-1", 9)] == [2, 3, 4]
    assert repository.take_pending("job-1", 9) == repository.take_pending("nobody", 9) == []
    job = driver.check_counters()
    assert (job.state, job.queued, job.started_at is None) == (JobState.RUNNING, 5, False)


def test_thousands_of_images_can_be_taken_at_once(driver, repository):
    driver.accepted(images=3_000)
    assert len(repository.take_pending("job-1", 2_500)) == 2_500
    assert driver.check_counters().queued == 2_500


def test_an_image_starts_once_and_only_if_it_is_queued(driver, repository):
    driver.accepted(images=4)
    repository.take_pending("job-1", 3)
    repository.apply([driver.done("job-1", 2)])
    repository.mark_running(
        [driver.started("job-1", 0, 0, 2, 3), driver.started("job-1", 0), driver.started("nobody", 1)]
    )
    assert driver.states() == [RUNNING, QUEUED, DONE, PENDING]
    repository.mark_running([driver.started("job-1", 1, run=1)])
    repository.mark_running([Event(kind="stepped", job="job-1", chunk="c", images=[1])])
    assert driver.states() == [RUNNING, QUEUED, DONE, PENDING]
    driver.check_counters()


def test_a_done_image_keeps_its_results_times_and_attempts(driver, repository):
    driver.accepted(images=2)
    applied = driver.apply_one(driver.done("job-1", 1))
    image = repository.get_image("job-1", 1)
    assert (image.state, image.attempts, image.error) == (DONE, 2, None)
    assert image.results == [driver.result("job-1", 1)]
    assert image.timings == driver.timings(3)
    assert (applied.finished, applied.stale_results, applied.job) == (
        False,
        [],
        repository.get_job("job-1", ALL_OWNERS),
    )


def test_a_failed_image_keeps_its_error_and_where_a_retry_resumes(driver, repository):
    driver.accepted(images=2)
    driver.apply_one(driver.failed("job-1", 0))
    image = repository.get_image("job-1", 0)
    assert (image.state, image.attempts, image.failure_number) == (FAILED, 3, 1)
    assert image.error == {"code": "step_timeout", "message": "not an image", "step": "blur", "retry": True}
    assert (image.resume_step, image.resume_blob, image.resume_parts) == (1, "work/a/blob", 4)


def test_a_failure_without_an_error_still_ends_its_image(driver, repository):
    driver.accepted(images=1)
    event = driver.failed("job-1", 0)
    event.outcomes[0].error = None
    assert driver.apply_one(event).job.state is JobState.FAILED
    assert repository.get_image("job-1", 0).error["code"] == "internal"


def test_step_totals_count_every_operation_up_to_the_failing_one(driver, repository):
    driver.accepted(images=3)
    repository.apply([driver.done("job-1", 0), driver.failed("job-1", 1, step=1)])
    assert driver.check_counters().steps == [
        StepTotals(2, 0, 1.0, 0.5),
        StepTotals(1, 1, 1.0, 0.5),
        StepTotals(1, 0, 0.5, 0.25),
    ]


@pytest.mark.parametrize(
    ("done", "failed", "state"),
    [((0, 1), (), JobState.SUCCEEDED), ((0,), (1,), JobState.PARTIAL), ((), (0, 1), JobState.FAILED)],
)
def test_a_job_ends_once_with_its_last_image(driver, repository, done, failed, state):
    driver.accepted(images=2)
    repository.take_pending("job-1", 2)
    [first, *_] = events = [driver.done("job-1", image) for image in done] + [driver.failed("job-1", i) for i in failed]
    assert not driver.apply_one(first).finished
    applied = driver.apply_one(events[1])
    assert (applied.finished, applied.job.state) == (True, state)
    assert applied.job.finished_at >= applied.job.started_at
    again = driver.apply_one(*events)
    assert (again.finished, again.job) == (False, applied.job)
    assert repository.count_open_jobs() == 0


def test_duplicate_events_change_nothing_in_the_same_batch_or_later(driver, repository):
    driver.accepted(images=3)
    once = [driver.done("job-1", 0), driver.failed("job-1", 1)]
    job = driver.apply_one(*once, *once, driver.failed("job-1", 0), driver.done("job-1", 1, 1)).job
    assert (job.done, job.failed, job.failures_seen, job.pending) == (1, 1, 1, 1)
    assert driver.apply_one(*once, driver.failed("job-1", 0)).job == job
    assert driver.states() == [DONE, FAILED, PENDING]
    driver.check_counters()


def test_outcomes_of_another_run_or_of_unknown_images_change_nothing(driver, repository):
    driver.accepted(images=2)
    before = repository.get_job("job-1", ALL_OWNERS)
    applied = driver.apply_one(driver.done("job-1", 0, run=1), driver.done("job-1", 2, 99), driver.started("job-1", 0))
    assert (applied.job, applied.stale_results) == (before, [])
    assert driver.states() == [PENDING, PENDING]


def test_a_batch_has_events_of_several_jobs_and_skips_deleted_ones(driver, repository):
    driver.accepted("job-1", images=1)
    driver.accepted("job-2", images=2)
    applied = repository.apply([driver.done("job-2", 0), driver.done("gone", 0), driver.done("job-1", 0)])
    assert {entry.job.id: entry.finished for entry in applied} == {"job-1": True, "job-2": False}
    assert repository.apply([]) == []


def test_a_batch_may_have_thousands_of_outcomes(driver, repository):
    driver.accepted(images=2_600)
    applied = driver.apply_one(driver.done("job-1", *range(1_500)), driver.failed("job-1", *range(1_500, 2_600)))
    assert (applied.finished, applied.job.done, applied.job.failed) == (True, 1_500, 1_100)
    driver.check_counters()


def test_failures_are_listed_in_the_order_in_which_they_happened(driver, repository):
    driver.accepted(images=6)
    for image in (4, 1, 5, 0):
        repository.apply([driver.failed("job-1", image)])
    found = repository.list_failures("job-1", after=1, limit=2)
    assert [(image.id, image.failure_number) for image in found] == [(1, 2), (5, 3)]
    assert [image.id for image in repository.list_failures("job-1", after=3, limit=9)] == [0]
    assert repository.list_failures("job-1", after=4, limit=9) == repository.list_failures("no", after=0, limit=9) == []


def test_images_in_flight_are_requeued_after_the_queues_were_lost(driver, repository):
    for job in ("job-1", "job-2"):
        driver.accepted(job, images=4)
        repository.take_pending(job, 3)
        repository.mark_running([driver.started(job, 1)])
        repository.apply([driver.done(job, 0)])
    assert repository.requeue_in_flight("job-1") == 2
    assert (driver.states("job-1"), driver.states("job-2")[1]) == ([DONE, PENDING, PENDING, PENDING], RUNNING)
    assert repository.requeue_in_flight() == 2
    assert repository.requeue_in_flight() == repository.requeue_in_flight("nobody") == 0
    assert [image.id for image in repository.take_pending("job-2", 9)] == [1, 2, 3]
    driver.check_counters("job-1")
    driver.check_counters("job-2")


def test_images_in_flight_are_listed_by_id_with_the_step_that_they_start_from(driver, repository):
    driver.ended("job-1", done=2, failed=4)
    repository.retry_job("job-1")
    repository.take_pending("job-1", 3)
    repository.mark_running([driver.started("job-1", 3, run=1)])
    assert list(repository.in_flight("job-1").items()) == [(2, 1), (3, 1), (4, 1)]
    driver.accepted("job-2")
    repository.take_pending("job-2", 1)
    assert repository.in_flight("job-2") == {0: 0}
    driver.received("job-3")
    assert repository.in_flight("job-3") == repository.in_flight("nobody") == {}
    repository.cancel_job("job-1")
    assert repository.in_flight("job-1") == {}


@pytest.mark.parametrize("results_bytes", [0, 300_000])
def test_the_images_of_one_call_have_a_bounded_size(driver, repository, results_bytes):
    """Regions that came with images and results count alike; nothing is left out, whatever states the rows are in."""
    driver.received(images=0)
    repository.add_images("job-1", [driver.image(i, regions="é" * (300_000 if i % 3 else 1)) for i in range(24)])
    repository.accept_job("job-1")
    taken = [image.id for image in read_pages(lambda after: repository.take_pending("job-1", 24))]
    assert taken == list(range(24))
    large = driver.result("job-1", 0).model_copy(update={"name": "x" * results_bytes})
    done = [Outcome(id=image, state="done", results=[large]) for image in range(0, 24, 2)]
    repository.apply([Event(kind="finished", job="job-1", run=0, chunk="c", outcomes=done)])
    repository.apply([driver.failed("job-1", *range(1, 24, 2))])
    for state, expected in (None, range(24)), (DONE, range(0, 24, 2)), (FAILED, range(1, 24, 2)), (PENDING, ()):
        found = read_pages(
            lambda after, state=state: repository.list_images("job-1", state=state, after=after, limit=50)
        )
        assert [image.id for image in found] == list(expected)
    numbers = read_pages(
        lambda after: repository.list_failures("job-1", after=after, limit=50), lambda image: image.failure_number
    )
    assert [image.id for image in numbers] == list(range(1, 24, 2))
    repository.retry_job("job-1", [1, 5, 7])
    repository.take_pending("job-1", 1)
    repository.cancel_job("job-1")
    found = read_pages(lambda after: repository.list_images("job-1", state=CANCELLED, after=after, limit=50))
    assert [image.id for image in found] == [1, 5, 7]


def read_pages(read, position=lambda image: image.id):
    """Return the images of all pages; check the size of each."""
    found = []
    while page := read(position(found[-1]) if found else -1):
        sizes = [len(image.regions or "") + sum(len(result.name) for result in image.results) for image in page]
        assert len(page) == 1 or sum(sizes) <= PAGE_BYTES
        found += page
    return found


def test_of_given_images_those_in_flight_are_requeued(driver, repository):
    for job in ("job-1", "job-2"):
        driver.accepted(job, images=6)
        repository.take_pending(job, 4)
    repository.mark_running([driver.started("job-1", 1, 2)])
    repository.apply([driver.failed("job-1", 0)])
    assert repository.requeue_in_flight("job-1", [0, 1, 1, 3, 5, 99, 10**15]) == 2
    assert driver.states("job-1") == [FAILED, PENDING, RUNNING, PENDING, PENDING, PENDING]
    assert driver.states("job-2")[:4] == [QUEUED] * 4
    assert repository.requeue_in_flight("job-1", [0, 1, 3]) == repository.requeue_in_flight("job-1", []) == 0
    job = driver.check_counters("job-1")
    assert (job.pending, job.queued, job.running) == (4, 0, 1)
    assert [image.id for image in repository.take_pending("job-1", 9)] == [1, 3, 4, 5]


def test_thousands_of_given_images_can_be_requeued(driver, repository):
    driver.accepted(images=3_000)
    repository.take_pending("job-1", 2_500)
    assert repository.requeue_in_flight("job-1", range(100, 3_000)) == 2_400
    assert driver.check_counters().queued == len(repository.in_flight("job-1")) == 100


def test_images_given_without_a_job_are_refused(driver, repository):
    driver.accepted(images=1)
    repository.take_pending("job-1", 1)
    with pytest.raises(ValueError, match="images need a job"):
        repository.requeue_in_flight(None, [0])
    assert driver.states() == [QUEUED]


def test_a_late_outcome_of_a_requeued_image_still_counts(driver, repository):
    driver.accepted(images=1)
    repository.take_pending("job-1", 1)
    repository.requeue_in_flight()
    assert driver.apply_one(driver.done("job-1", 0)).job.state is JobState.SUCCEEDED
    assert repository.take_pending("job-1", 1) == []


def placed(driver, job, places):
    """Return an event with images that are done and were taken at the places, or nowhere that is known."""
    event = driver.done(job, *range(len(places)))
    for outcome, place in zip(event.outcomes, places, strict=True):
        if place is not None:
            found = Place(longitude=place[0], latitude=place[1])
            outcome.results = [outcome.results[0].model_copy(update={"place": found})]
    return event


def test_places_of_images_are_listed_and_equal_ones_joined(driver, repository):
    driver.accepted(images=4)
    assert repository.list_places("job-1", 100) == []
    repository.apply([placed(driver, "job-1", [(4.36, 52.01), None, (-70.5, -33.25), (4.36, 52.01)])])
    assert repository.list_places("job-1", 100) == [(0, 4.36, 52.01, 2), (2, -70.5, -33.25, 1)]
    assert repository.list_places("nobody", 100) == []


def test_many_places_are_joined_with_those_around_them(driver, repository):
    driver.accepted(images=900)
    grid = [(4 + across / 1000, 52 + down / 1000) for down in range(30) for across in range(30)]
    repository.apply([placed(driver, "job-1", grid)])
    places = repository.list_places("job-1", 100)
    assert 80 <= len(places) <= 100
    assert sum(place.images for place in places) == 900
    assert max(place.images for place in places) <= 16
    assert {(place.longitude, place.latitude) for place in places} <= set(grid)


class Model:
    """A model of one job's images, as the contract defines it."""

    def __init__(self, images: int) -> None:
        self.images = [PENDING] * images
        self.run = 0
        self.state = JobState.ACCEPTED
        self.failures = 0
        self.final: set[int] = set()
        self.ended = Counter()

    def in_states(self, *states: ImageState) -> list[int]:
        return [image for image, state in enumerate(self.images) if state in states]

    def move(self, images, allowed, after, final=False) -> int:
        moved = [image for image in dict.fromkeys(images) if self.images[image] in allowed]
        for image in moved:
            self.images[image] = after
        if after in (DONE, FAILED, CANCELLED):
            code = "corrupt_image" if final else "step_timeout"
            self.ended[code if after is FAILED else after.value] += len(moved)
        self.final = self.final | {*moved} if final else self.final - {*moved}
        return len(moved)

    def end_if_complete(self) -> None:
        if self.state in (JobState.ACCEPTED, JobState.RUNNING):
            self.state = JobState.RUNNING
            if not self.in_states(*OPEN):
                ends = {DONE: JobState.SUCCEEDED, FAILED: JobState.FAILED}
                kinds = set(self.images)
                self.state = ends[kinds.pop()] if len(kinds) == 1 else JobState.PARTIAL


class RandomChanges:
    """Makes random changes to a job and to its model."""

    def __init__(self, driver, job: str, images: int, rng: random.Random) -> None:
        self.driver, self.job, self.random = driver, job, rng
        self.model = Model(images)
        driver.accepted(job, images)

    def some_images(self) -> list[int]:
        return [self.random.randrange(len(self.model.images)) for _ in range(self.random.randint(1, 6))]

    def change(self) -> None:
        moves = [self.take, self.start, self.finish, self.requeue, self.retry, self.cancel]
        self.random.choices(moves, weights=[30, 25, 40, 4, 8, 1])[0]()

    def take(self) -> None:
        limit = self.random.randint(1, 8)
        taken = [image.id for image in self.driver.repository.take_pending(self.job, limit)]
        expected = self.model.in_states(PENDING)[:limit]
        assert taken == expected
        if self.model.move(expected, [PENDING], QUEUED):
            self.model.end_if_complete()

    def start(self) -> None:
        run, images = self.model.run - (self.random.random() < 0.2), self.some_images()
        self.driver.repository.mark_running([self.driver.started(self.job, *images, run=max(run, 0))])
        if max(run, 0) == self.model.run:
            self.model.move(images, [QUEUED], RUNNING)

    def finish(self) -> None:
        events = [self.event() for _ in range(self.random.randint(1, 4))]
        batch = events + self.random.sample(events, self.random.randint(0, len(events)))
        before = self.model.state
        for kind, run, images in batch:
            if run == self.model.run:
                moved = self.model.move(images, OPEN, DONE if kind == "done" else FAILED, kind == "broken")
                self.model.failures += moved * (kind != "done")
                if moved:
                    self.model.end_if_complete()
        applied = self.driver.apply_one(
            *(getattr(self.driver, kind)(self.job, *ids, run=run) for kind, run, ids in batch)
        )
        assert applied.finished == (before is not self.model.state and self.model.state is not JobState.RUNNING)

    def event(self) -> tuple[str, int, list[int]]:
        run = self.model.run + self.random.choice([0, 0, 0, 0, -1, 1])
        return self.random.choice(["done", "done", "failed", "broken"]), max(run, 0), self.some_images()

    def requeue(self) -> None:
        named = self.random.choice([None, self.some_images()])
        moved = self.model.move(
            self.model.in_states(QUEUED, RUNNING) if named is None else named, [QUEUED, RUNNING], PENDING
        )
        assert self.driver.repository.requeue_in_flight(self.job, named) == moved

    def retry(self) -> None:
        named = self.random.choice([None, self.model.in_states(FAILED)[::2]])
        if self.model.state in (JobState.ACCEPTED, JobState.RUNNING, JobState.CANCELLED):
            with pytest.raises(ConflictError):
                self.driver.repository.retry_job(self.job, named)
            return
        everything = self.random.random() < 0.3
        _, count = self.driver.repository.retry_job(self.job, named, everything=everything)
        failed = self.model.in_states(FAILED)
        chosen = [image for image in failed if everything or image not in self.model.final]
        moved = self.model.move(chosen if named is None else named, [FAILED], PENDING)
        assert count == moved
        if moved:
            self.model.run += 1
            self.model.state = JobState.RUNNING

    def cancel(self) -> None:
        if self.model.state in (JobState.ACCEPTED, JobState.RUNNING):
            self.driver.repository.cancel_job(self.job)
            self.model.move(self.model.in_states(*OPEN), OPEN, CANCELLED)
            self.model.state = JobState.CANCELLED

    def check(self) -> None:
        job = self.driver.check_counters(self.job)
        assert self.driver.states(self.job) == self.model.images
        assert (job.state, job.run, job.failures_seen) == (self.model.state, self.model.run, self.model.failures)
        state = self.random.choice(list(ImageState))
        found = self.driver.repository.list_images(self.job, state=state, limit=100)
        assert [image.id for image in found] == self.model.in_states(state)
        assert list(self.driver.repository.in_flight(self.job)) == self.model.in_states(QUEUED, RUNNING)


@pytest.mark.parametrize("seed", range(8))
def test_after_any_sequence_of_events_counters_and_totals_equal_the_rows(driver, repository, seed):
    chance = random.Random(seed)
    players = [RandomChanges(driver, f"job-{number}", images, chance) for number, images in enumerate((1, 7, 25))]
    for _ in range(250):
        player = chance.choice(players)
        player.change()
        player.check()
        assert repository.totals() == +sum((each.model.ended for each in players), Counter())


def test_no_statement_on_images_is_compiled_again_each_time(driver, repository):
    driver.accepted(images=4)
    hits = []

    def note(_connection, _cursor, statement, _parameters, context, _many):
        if context.compiled is not None:  # else it was given as text
            hits.append((context.cache_hit, statement))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        repository.take_pending("job-1", 3)
        repository.mark_running([driver.started("job-1", 1)])
        repository.requeue_in_flight("job-1", [2])
        repository.apply([driver.done("job-1", 0), driver.failed("job-1", 1)])
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(hits) > 8
    assert [statement for hit, statement in hits if hit is CacheStats.NO_CACHE_KEY] == []

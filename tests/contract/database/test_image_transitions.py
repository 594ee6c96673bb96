"""The repository's contract: images move, each to one end, whatever is delivered twice, late or out of order."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import Event
from penstock.coordinator.ports.repository import ALL_OWNERS, ConflictError, StepTotals

PENDING, QUEUED, RUNNING, DONE, FAILED, CANCELLED = ImageState
OPEN = (PENDING, QUEUED, RUNNING)


def test_pending_images_are_taken_once_and_in_order(desk, repository):
    desk.accepted(images=5)
    first = repository.take_pending("job-1", 2)
    assert first == [desk.image(0), desk.image(1)]
    assert [image.id for image in repository.take_pending("job-1", 9)] == [2, 3, 4]
    assert repository.take_pending("job-1", 9) == repository.take_pending("nobody", 9) == []
    job = desk.check_counters()
    assert (job.state, job.queued, job.started_at is None) == (JobState.RUNNING, 5, False)


def test_a_take_of_thousands_is_one_take(desk, repository):
    desk.accepted(images=3_000)
    assert len(repository.take_pending("job-1", 2_500)) == 2_500
    assert desk.check_counters().queued == 2_500


def test_an_image_starts_once_and_only_from_the_queue(desk, repository):
    desk.accepted(images=4)
    repository.take_pending("job-1", 3)
    repository.apply([desk.done("job-1", 2)])
    repository.mark_running([desk.started("job-1", 0, 0, 2, 3), desk.started("job-1", 0), desk.started("nobody", 1)])
    assert desk.states() == [RUNNING, QUEUED, DONE, PENDING]
    repository.mark_running([desk.started("job-1", 1, run=1)])
    repository.mark_running([Event(kind="stepped", job="job-1", chunk="c", images=[1])])
    assert desk.states() == [RUNNING, QUEUED, DONE, PENDING]
    desk.check_counters()


def test_a_done_image_keeps_its_results_times_and_attempts(desk, repository):
    desk.accepted(images=2)
    applied = desk.apply_one(desk.done("job-1", 1))
    image = repository.get_image("job-1", 1)
    assert (image.state, image.attempts, image.error) == (DONE, 2, None)
    assert image.results == [desk.result("job-1", 1)]
    assert image.timings == desk.timings(3)
    assert (applied.finished, applied.stale_results, applied.job) == (
        False,
        [],
        repository.get_job("job-1", ALL_OWNERS),
    )


def test_a_failed_image_keeps_why_and_where_a_retry_goes_on(desk, repository):
    desk.accepted(images=2)
    desk.apply_one(desk.failed("job-1", 0))
    image = repository.get_image("job-1", 0)
    assert (image.state, image.attempts, image.failure_number) == (FAILED, 3, 1)
    assert image.error == {"code": "step_timeout", "message": "no picture", "step": "blur", "retry": True}
    assert (image.resume_step, image.resume_blob, image.resume_parts) == (1, "work/a/blob", 4)


def test_an_outcome_that_does_not_say_why_it_failed_still_ends_its_image(desk, repository):
    desk.accepted(images=1)
    event = desk.failed("job-1", 0)
    event.outcomes[0].error = None
    assert desk.apply_one(event).job.state is JobState.FAILED
    assert repository.get_image("job-1", 0).error["code"] == "internal"


def test_step_totals_count_every_operation_up_to_the_failing_one(desk, repository):
    desk.accepted(images=3)
    repository.apply([desk.done("job-1", 0), desk.failed("job-1", 1, step=1)])
    assert desk.check_counters().steps == [
        StepTotals(2, 0, 1.0, 0.5),
        StepTotals(1, 1, 1.0, 0.5),
        StepTotals(1, 0, 0.5, 0.25),
    ]


@pytest.mark.parametrize(
    ("done", "failed", "state"),
    [((0, 1), (), JobState.SUCCEEDED), ((0,), (1,), JobState.PARTIAL), ((), (0, 1), JobState.FAILED)],
)
def test_a_job_ends_once_with_its_last_image(desk, repository, done, failed, state):
    desk.accepted(images=2)
    repository.take_pending("job-1", 2)
    [first, *_] = events = [desk.done("job-1", image) for image in done] + [desk.failed("job-1", i) for i in failed]
    assert not desk.apply_one(first).finished
    applied = desk.apply_one(events[1])
    assert (applied.finished, applied.job.state) == (True, state)
    assert applied.job.finished_at >= applied.job.started_at
    again = desk.apply_one(*events)
    assert (again.finished, again.job) == (False, applied.job)
    assert repository.count_open_jobs() == 0


def test_duplicates_change_nothing_within_a_batch_or_after_it(desk, repository):
    desk.accepted(images=3)
    once = [desk.done("job-1", 0), desk.failed("job-1", 1)]
    job = desk.apply_one(*once, *once, desk.failed("job-1", 0), desk.done("job-1", 1, 1)).job
    assert (job.done, job.failed, job.failures_seen, job.pending) == (1, 1, 1, 1)
    assert desk.apply_one(*once, desk.failed("job-1", 0)).job == job
    assert desk.states() == [DONE, FAILED, PENDING]
    desk.check_counters()


def test_outcomes_of_another_run_or_of_images_that_are_not_there_change_nothing(desk, repository):
    desk.accepted(images=2)
    before = repository.get_job("job-1", ALL_OWNERS)
    applied = desk.apply_one(desk.done("job-1", 0, run=1), desk.done("job-1", 2, 99), desk.started("job-1", 0))
    assert (applied.job, applied.stale_results) == (before, [])
    assert desk.states() == [PENDING, PENDING]


def test_one_batch_serves_several_jobs_and_skips_those_that_are_gone(desk, repository):
    desk.accepted("job-1", images=1)
    desk.accepted("job-2", images=2)
    applied = repository.apply([desk.done("job-2", 0), desk.done("gone", 0), desk.done("job-1", 0)])
    assert {entry.job.id: entry.finished for entry in applied} == {"job-1": True, "job-2": False}
    assert repository.apply([]) == []


def test_a_batch_may_bring_thousands_of_outcomes(desk, repository):
    desk.accepted(images=2_600)
    applied = desk.apply_one(desk.done("job-1", *range(1_500)), desk.failed("job-1", *range(1_500, 2_600)))
    assert (applied.finished, applied.job.done, applied.job.failed) == (True, 1_500, 1_100)
    desk.check_counters()


def test_failures_are_read_in_the_order_in_which_they_happened(desk, repository):
    desk.accepted(images=6)
    for image in (4, 1, 5, 0):
        repository.apply([desk.failed("job-1", image)])
    found = repository.list_failures("job-1", after=1, limit=2)
    assert [(image.id, image.failure_number) for image in found] == [(1, 2), (5, 3)]
    assert [image.id for image in repository.list_failures("job-1", after=3, limit=9)] == [0]
    assert repository.list_failures("job-1", after=4, limit=9) == repository.list_failures("no", after=0, limit=9) == []


def test_what_was_in_flight_is_pending_again_after_a_loss_of_the_queues(desk, repository):
    for job in ("job-1", "job-2"):
        desk.accepted(job, images=4)
        repository.take_pending(job, 3)
        repository.mark_running([desk.started(job, 1)])
        repository.apply([desk.done(job, 0)])
    assert repository.requeue_in_flight("job-1") == 2
    assert (desk.states("job-1"), desk.states("job-2")[1]) == ([DONE, PENDING, PENDING, PENDING], RUNNING)
    assert repository.requeue_in_flight() == 2
    assert repository.requeue_in_flight() == repository.requeue_in_flight("nobody") == 0
    assert [image.id for image in repository.take_pending("job-2", 9)] == [1, 2, 3]
    desk.check_counters("job-1")
    desk.check_counters("job-2")


def test_what_is_in_flight_is_listed_by_id_a_page_at_a_time(desk, repository):
    desk.accepted(images=8)
    repository.take_pending("job-1", 6)
    repository.mark_running([desk.started("job-1", 1, 4)])
    repository.apply([desk.done("job-1", 0)])
    found = repository.in_flight("job-1", 9)
    assert [(image.id, image.state) for image in found] == [
        (1, RUNNING),
        (2, QUEUED),
        (3, QUEUED),
        (4, RUNNING),
        (5, QUEUED),
    ]
    assert repository.in_flight("job-1", 3) == found[:3]
    desk.received("job-2")
    assert repository.in_flight("job-2", 9) == repository.in_flight("nobody", 9) == []
    repository.cancel_job("job-1")
    assert repository.in_flight("job-1", 9) == []


def test_of_named_images_those_in_flight_are_pending_again(desk, repository):
    for job in ("job-1", "job-2"):
        desk.accepted(job, images=6)
        repository.take_pending(job, 4)
    repository.mark_running([desk.started("job-1", 1, 2)])
    repository.apply([desk.failed("job-1", 0)])
    assert repository.requeue_in_flight("job-1", [0, 1, 1, 3, 5, 99, 10**15]) == 2
    assert desk.states("job-1") == [FAILED, PENDING, RUNNING, PENDING, PENDING, PENDING]
    assert desk.states("job-2")[:4] == [QUEUED] * 4
    assert repository.requeue_in_flight("job-1", [0, 1, 3]) == repository.requeue_in_flight("job-1", []) == 0
    job = desk.check_counters("job-1")
    assert (job.pending, job.queued, job.running) == (4, 0, 1)
    assert [image.id for image in repository.take_pending("job-1", 9)] == [1, 3, 4, 5]


def test_thousands_of_images_can_be_named(desk, repository):
    desk.accepted(images=3_000)
    repository.take_pending("job-1", 2_500)
    assert repository.requeue_in_flight("job-1", range(100, 3_000)) == 2_400
    assert desk.check_counters().queued == len(repository.in_flight("job-1", 3_000)) == 100


def test_images_named_without_their_job_are_refused(desk, repository):
    desk.accepted(images=1)
    repository.take_pending("job-1", 1)
    with pytest.raises(ValueError, match="images need a job"):
        repository.requeue_in_flight(None, [0])
    assert desk.states() == [QUEUED]


def test_an_outcome_from_before_the_loss_of_the_queues_still_counts(desk, repository):
    desk.accepted(images=1)
    repository.take_pending("job-1", 1)
    repository.requeue_in_flight()
    assert desk.apply_one(desk.done("job-1", 0)).job.state is JobState.SUCCEEDED
    assert repository.take_pending("job-1", 1) == []


class Model:
    """What the contract says of one job's images, in a few lines of memory."""

    def __init__(self, images: int) -> None:
        self.images = [PENDING] * images
        self.run = 0
        self.state = JobState.ACCEPTED
        self.failures = 0
        self.ended = Counter()

    def those(self, *states: ImageState) -> list[int]:
        return [image for image, state in enumerate(self.images) if state in states]

    def move(self, images, allowed, after) -> int:
        moved = [image for image in dict.fromkeys(images) if self.images[image] in allowed]
        for image in moved:
            self.images[image] = after
        if after in (DONE, FAILED, CANCELLED):
            self.ended["step_timeout" if after is FAILED else after.value] += len(moved)
        return len(moved)

    def settle(self) -> None:
        if self.state in (JobState.ACCEPTED, JobState.RUNNING):
            self.state = JobState.RUNNING
            if not self.those(*OPEN):
                ends = {DONE: JobState.SUCCEEDED, FAILED: JobState.FAILED}
                kinds = set(self.images)
                self.state = ends[kinds.pop()] if len(kinds) == 1 else JobState.PARTIAL


class Player:
    """Does one random thing after the other to a job and to its model."""

    def __init__(self, desk, job: str, images: int, chance: random.Random) -> None:
        self.desk, self.job, self.chance = desk, job, chance
        self.model = Model(images)
        desk.accepted(job, images)

    def some(self) -> list[int]:
        return [self.chance.randrange(len(self.model.images)) for _ in range(self.chance.randint(1, 6))]

    def play(self) -> None:
        moves = [self.take, self.start, self.finish, self.requeue, self.retry, self.cancel]
        self.chance.choices(moves, weights=[30, 25, 40, 4, 8, 1])[0]()

    def take(self) -> None:
        limit = self.chance.randint(1, 8)
        taken = [image.id for image in self.desk.repository.take_pending(self.job, limit)]
        expected = self.model.those(PENDING)[:limit]
        assert taken == expected
        if self.model.move(expected, [PENDING], QUEUED):
            self.model.settle()

    def start(self) -> None:
        run, images = self.model.run - (self.chance.random() < 0.2), self.some()
        self.desk.repository.mark_running([self.desk.started(self.job, *images, run=max(run, 0))])
        if max(run, 0) == self.model.run:
            self.model.move(images, [QUEUED], RUNNING)

    def finish(self) -> None:
        events = [self.event() for _ in range(self.chance.randint(1, 4))]
        batch = events + self.chance.sample(events, self.chance.randint(0, len(events)))
        before = self.model.state
        for kind, run, images in batch:
            if run == self.model.run:
                moved = self.model.move(images, OPEN, DONE if kind == "done" else FAILED)
                self.model.failures += moved * (kind == "failed")
                if moved:
                    self.model.settle()
        applied = self.desk.apply_one(*(getattr(self.desk, kind)(self.job, *ids, run=run) for kind, run, ids in batch))
        assert applied.finished == (before is not self.model.state and self.model.state is not JobState.RUNNING)

    def event(self) -> tuple[str, int, list[int]]:
        run = self.model.run + self.chance.choice([0, 0, 0, 0, -1, 1])
        return self.chance.choice(["done", "done", "failed"]), max(run, 0), self.some()

    def requeue(self) -> None:
        named = self.chance.choice([None, self.some()])
        moved = self.model.move(
            self.model.those(QUEUED, RUNNING) if named is None else named, [QUEUED, RUNNING], PENDING
        )
        assert self.desk.repository.requeue_in_flight(self.job, named) == moved

    def retry(self) -> None:
        named = self.chance.choice([None, self.model.those(FAILED)[::2]])
        if self.model.state in (JobState.ACCEPTED, JobState.RUNNING, JobState.CANCELLED):
            with pytest.raises(ConflictError):
                self.desk.repository.retry_job(self.job, named)
            return
        _, count = self.desk.repository.retry_job(self.job, named)
        moved = self.model.move(self.model.those(FAILED) if named is None else named, [FAILED], PENDING)
        assert count == moved
        if moved:
            self.model.run += 1
            self.model.state = JobState.RUNNING

    def cancel(self) -> None:
        if self.model.state in (JobState.ACCEPTED, JobState.RUNNING):
            self.desk.repository.cancel_job(self.job)
            self.model.move(self.model.those(*OPEN), OPEN, CANCELLED)
            self.model.state = JobState.CANCELLED

    def check(self) -> None:
        job = self.desk.check_counters(self.job)
        assert self.desk.states(self.job) == self.model.images
        assert (job.state, job.run, job.failures_seen) == (self.model.state, self.model.run, self.model.failures)
        state = self.chance.choice(list(ImageState))
        found = self.desk.repository.list_images(self.job, state=state, limit=100)
        assert [image.id for image in found] == self.model.those(state)
        assert [image.id for image in self.desk.repository.in_flight(self.job, 9)] == self.model.those(QUEUED, RUNNING)[
            :9
        ]


@pytest.mark.parametrize("seed", range(8))
def test_after_any_sequence_of_events_counters_and_totals_equal_the_rows(desk, repository, seed):
    chance = random.Random(seed)
    players = [Player(desk, f"job-{number}", images, chance) for number, images in enumerate((1, 7, 25))]
    for _ in range(250):
        player = chance.choice(players)
        player.play()
        player.check()
        assert repository.totals() == +sum((each.model.ended for each in players), Counter())

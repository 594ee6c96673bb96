"""Fair share: between owners, between an owner's jobs, and not between jobs that wait for different workers."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from coordinator_fixture import CoordinatorFixture

from penstock.common.model.messages import Chunk, Event, Outcome, StepTime
from penstock.coordinator.ports.repository import DEADLINE
from penstock.coordinator.scheduling.fair_share import FairShare

PLAN = ({"op": "resize", "width": 8, "height": 8}, {"op": "blur", "method": "median"}, {"op": "encode"})
FIRST_IS_SLOW = {"resize": 1, "blur": 9, "encode": 9}
SECOND_IS_SLOW = {"resize": 4, "blur": 1, "encode": 9}
_SERVICE_SECS = 0.005
"""Makes windows of 24 images."""


class SimulatedQueues:
    """A real dispatcher with simulated workers: FIFO queues, from which each step takes `rates` chunks per tick."""

    def __init__(
        self,
        coordinator: CoordinatorFixture,
        rates: Mapping[str, int],
        pressing: Collection[str] | None = None,
        **weights: int,
    ) -> None:
        self.coordinator = coordinator
        fair_share = FairShare(coordinator.in_flight, weights, refresh_secs=0.0)
        find_pressing = None if pressing is None else lambda _: pressing
        self.dispatcher = coordinator.make_dispatcher(fair_share=fair_share, find_pressing=find_pressing)
        self.rates = rates
        self.queues: dict[str, deque[tuple[Chunk, int]]] = {step: deque() for step in rates}
        self.done: Counter[str] = Counter()
        """Images by job."""

    def tick(self, times: int = 1) -> None:
        """Dispatch, then let the workers work."""
        for _ in range(times):
            while self.dispatcher.dispatch_round():
                pass
            for step in self.rates:
                self.queues[step] += [(chunk, chunk.step) for chunk in self.coordinator.take_chunks(step)]
            # Last step first, so that a chunk passes one step per tick.
            for step in reversed(self.rates):
                for _ in range(min(self.rates[step], len(self.queues[step]))):
                    self._work(*self.queues[step].popleft())

    def _work(self, chunk: Chunk, index: int) -> None:
        images = [image.id for image in chunk.images]
        assert not isinstance(chunk.plan, str)
        last = len(chunk.plan) - 1
        self._send(chunk, "started", step=index, images=images)
        if index == last:
            timings = [StepTime(step=step, wait=0.1, work=_SERVICE_SECS / (last + 1)) for step in range(last + 1)]
            outcomes = [Outcome(id=image, state="done", timings=timings) for image in images]
            self._send(chunk, "finished", outcomes=outcomes)
            self.done[chunk.job] += len(images)
        else:
            self._send(chunk, "stepped", step=index + 1, images=images)
            self.queues[str(chunk.plan[index + 1]["op"])].append((chunk, index + 1))

    def _send(self, chunk: Chunk, kind: Any, **fields: Any) -> None:
        self.coordinator.in_flight.apply([Event(kind=kind, job=chunk.job, run=chunk.run, chunk=chunk.chunk, **fields)])

    def done_by(self, owner: str) -> int:
        """Count the images of an owner, with whose name its jobs begin."""
        return sum(images for job, images in self.done.items() if job.startswith(owner))


def accept_jobs(coordinator: CoordinatorFixture, owner: str, jobs: int, images: int, **fields: Any) -> None:
    for number in range(jobs):
        coordinator.accept_job(f"{owner}{number}", images, chunk_size=1, owner=owner, **{"plan": list(PLAN), **fields})


@pytest.mark.parametrize("rates", [FIRST_IS_SLOW, SECOND_IS_SLOW], ids=["first step slow", "second step slow"])
def test_an_owner_with_ten_jobs_gets_no_more_than_an_owner_with_one(
    coordinator: CoordinatorFixture, rates: Mapping[str, int]
) -> None:
    accept_jobs(coordinator, "many", 10, 200)
    accept_jobs(coordinator, "one", 1, 1_000)
    queues = SimulatedQueues(coordinator, rates)
    queues.tick(600)
    assert queues.done_by("one") == pytest.approx(queues.done_by("many"), rel=0.2)
    assert queues.done_by("one") + queues.done_by("many") >= 590, "no worker is idle for it"
    assert max(queues.done.values()) - min(queues.done[f"many{number}"] for number in range(10)) > 200
    assert len(queues.done) == 11, "each of the ten is served"


@pytest.mark.parametrize("rates", [FIRST_IS_SLOW, SECOND_IS_SLOW], ids=["first step slow", "second step slow"])
def test_owners_share_by_the_weights_of_their_keys(coordinator: CoordinatorFixture, rates: Mapping[str, int]) -> None:
    accept_jobs(coordinator, "light", 3, 500, weight=100)
    accept_jobs(coordinator, "heavy", 2, 500)
    queues = SimulatedQueues(coordinator, rates, heavy=3)
    queues.tick(800)
    assert queues.done_by("heavy") == pytest.approx(3 * queues.done_by("light"), rel=0.2)


def test_an_owners_jobs_share_by_their_weights(coordinator: CoordinatorFixture) -> None:
    accept_jobs(coordinator, "light", 1, 900, weight=1)
    coordinator.accept_job("heavy", 900, chunk_size=1, owner="light", weight=4)
    queues = SimulatedQueues(coordinator, FIRST_IS_SLOW)
    queues.tick(800)
    assert queues.done["heavy"] == pytest.approx(4 * queues.done["light0"], rel=0.2)


def test_an_owners_jobs_share_by_their_weights_beside_another_owner(coordinator: CoordinatorFixture) -> None:
    accept_jobs(coordinator, "a", 1, 900, weight=1)
    coordinator.accept_job("heavy", 900, chunk_size=1, owner="a", weight=3)
    accept_jobs(coordinator, "b", 1, 900)
    queues = SimulatedQueues(coordinator, FIRST_IS_SLOW)
    queues.tick(800)
    assert queues.done["heavy"] == pytest.approx(3 * queues.done["a0"], rel=0.3)
    assert queues.done_by("b") == pytest.approx(400, rel=0.2)


@pytest.mark.parametrize("rates", [FIRST_IS_SLOW, SECOND_IS_SLOW], ids=["first step slow", "second step slow"])
def test_many_small_jobs_do_not_starve_a_large_one(coordinator: CoordinatorFixture, rates: Mapping[str, int]) -> None:
    accept_jobs(coordinator, "many", 70, 3)
    accept_jobs(coordinator, "one", 1, 600)
    queues = SimulatedQueues(coordinator, rates)
    queues.tick(280)
    assert queues.done_by("one") == pytest.approx(140, rel=0.2)


@pytest.mark.parametrize("owner", ["large", "small"])
def test_a_small_job_waits_for_little_more_than_what_is_queued_already(
    coordinator: CoordinatorFixture, owner: str
) -> None:
    accept_jobs(coordinator, "large", 3, 2_000)
    queues = SimulatedQueues(coordinator, FIRST_IS_SLOW)
    queues.tick(100)
    queued = len(queues.queues["resize"])
    coordinator.accept_job("small", 10, chunk_size=1, owner=owner, plan=list(PLAN))
    queues.tick(queued + 2 * 10 + 10)
    assert queues.done["small"] == 10


def test_jobs_that_wait_for_different_workers_do_not_share(coordinator: CoordinatorFixture) -> None:
    accept_jobs(coordinator, "light", 1, 900, plan=[{"op": "resize", "width": 8, "height": 8}, {"op": "encode"}])
    accept_jobs(coordinator, "heavy", 1, 900, plan=[{"op": "blur", "method": "median"}, {"op": "encode"}])
    queues = SimulatedQueues(coordinator, {"resize": 2, "blur": 2, "encode": 9}, heavy=100)
    queues.tick(200)
    assert queues.done["light0"] == pytest.approx(queues.done["heavy0"], rel=0.05)
    assert queues.done["light0"] >= 390


def pass_without_waiting(coordinator: CoordinatorFixture, first: str, second: str) -> None:
    """Let an image go from one step to another as if the same worker served both."""
    name = f"{first}-{second}"
    job = coordinator.accept_job(name, 1, plan=[{"op": first}, {"op": second}])
    coordinator.in_flight.add_dispatched(job, [(0, 0)])
    timings = [StepTime(step=step, wait=0.0, work=_SERVICE_SECS) for step in range(2)]
    outcome = Outcome(id=0, state="done", timings=timings)
    coordinator.in_flight.apply([Event(kind="finished", job=name, chunk="c", outcomes=[outcome])])
    coordinator.repository.cancel_job(name)
    coordinator.in_flight.remove_job(name, 0)


def test_jobs_share_if_the_same_workers_serve_their_steps(coordinator: CoordinatorFixture) -> None:
    for plan in ([{"op": "resize", "width": 8, "height": 8}], [{"op": "blur", "method": "median"}]):
        accept_jobs(coordinator, str(plan[0]["op"]), 1, 900, plan=[*plan, {"op": "encode"}])
    queues = SimulatedQueues(coordinator, {"resize": 1, "blur": 1, "encode": 9}, blur=8)
    for pair in (("resize", "encode"), ("split", "encode"), ("blur", "split")):
        pass_without_waiting(coordinator, *pair)
    queues.tick()
    in_flight = {name: coordinator.in_flight.count(name) for name in ("resize0", "blur0")}
    assert in_flight["blur0"] > 3 * in_flight["resize0"]


def test_a_job_whose_step_has_no_workers_delays_no_other_job(coordinator: CoordinatorFixture) -> None:
    accept_jobs(coordinator, "stuck", 2, 500, plan=[PLAN[0], {"op": "split"}, {"op": "encode"}])
    accept_jobs(coordinator, "other", 1, 500)
    coordinator.accept_job("own", 500, chunk_size=1, owner="stuck", plan=list(PLAN))
    queues = SimulatedQueues(coordinator, {"resize": 2, "split": 0, "blur": 2, "encode": 9})
    queues.tick(300)
    assert queues.done["own"] + queues.done["other0"] >= 600 - 3 * 24 - 30, "all but the windows that are stuck"
    assert queues.done["own"] == pytest.approx(queues.done["other0"], rel=0.2)


def test_equal_jobs_of_one_owner_have_full_windows(coordinator: CoordinatorFixture) -> None:
    accept_jobs(coordinator, "a", 4, 100)
    SimulatedQueues(coordinator, FIRST_IS_SLOW).dispatcher.dispatch_round()
    assert [coordinator.in_flight.count(f"a{number}") for number in range(4)] == [4] * 4


def test_the_smallest_weight_still_has_an_image_in_flight(coordinator: CoordinatorFixture) -> None:
    accept_jobs(coordinator, "light", 2, 100)
    accept_jobs(coordinator, "heavy", 1, 10_000)
    queues = SimulatedQueues(coordinator, FIRST_IS_SLOW, heavy=100)
    queues.tick(100)
    assert 0 < queues.done_by("light") <= 40


def test_the_earliest_pressing_deadline_goes_first_among_jobs_of_the_same_workers(
    coordinator: CoordinatorFixture,
) -> None:
    """Those without a deadline, or with one that has passed, share what is left."""
    now = time.time()
    for name, at in (("free", None), ("late", now + 7_200), ("early", now + 3_600), ("missed", now - 1)):
        document = {} if at is None else {DEADLINE: at}
        coordinator.accept_job(name, 200, PLAN, document=document)
    queues = SimulatedQueues(coordinator, {"resize": 4, "blur": 4, "encode": 4})
    ended: list[str] = []
    for _ in range(2_000):
        queues.tick()
        ended += [name for name in queues.done if queues.done[name] == 200 and name not in ended]
        if len(ended) == 2:
            break
    assert ended == ["early", "late"]
    queues.tick(20)
    assert queues.done["free"] > 0
    assert queues.done["missed"] > 0


def test_a_deadline_that_is_not_pressing_shares(coordinator: CoordinatorFixture) -> None:
    for name, secs in (("far", 7_200.0), ("near", 3_600.0), ("free", None)):
        coordinator.accept_job(name, 200, PLAN, document={} if secs is None else {DEADLINE: time.time() + secs})
    queues = SimulatedQueues(coordinator, FIRST_IS_SLOW, pressing=set())
    queues.tick(90)
    assert queues.done["far"] == pytest.approx(queues.done["free"], abs=10)
    assert queues.done["near"] == pytest.approx(queues.done["free"], abs=10)
    assert queues.done["free"] > 0

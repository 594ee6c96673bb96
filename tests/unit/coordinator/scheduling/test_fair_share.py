"""How jobs share the workers: between owners, between an owner's jobs, and not with those who wait for others."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import pytest

from penstock.common.model.messages import Event, Outcome, StepTime
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings

PLAN = ({"op": "resize", "width": 8, "height": 8}, {"op": "blur", "method": "median"}, {"op": "encode"})
FIRST_IS_SLOW = {"resize": 1, "blur": 9, "encode": 9}
SECOND_IS_SLOW = {"resize": 4, "blur": 1, "encode": 9}
_SECS = 0.005
"""Work of an image, which makes windows of 24 images."""


@pytest.fixture(autouse=True)
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where images wait is looked at every time."""
    monkeypatch.setattr("penstock.coordinator.scheduling.fair_share._LOOK_SECS", 0.0)


class Mill:
    """A dispatcher, and a queue for each step, which serves first what came first: `rates` images a turn."""

    def __init__(self, house: Any, rates: Mapping[str, int], **weights: int) -> None:
        self.house = house
        self.dispatcher = Dispatcher(
            house.repository, house.store, house.broker, house.live, DispatchSettings(weights=weights)
        )
        self.rates = rates
        self.queues: dict[str, deque[tuple[Any, int]]] = {step: deque() for step in rates}
        self.done: Counter[str] = Counter()
        """Images by job."""

    def turn(self, times: int = 1) -> None:
        """Send what may be sent, then work."""
        for _ in range(times):
            while self.dispatcher.fill():
                pass
            for step in self.rates:
                self.queues[step] += [(chunk, chunk.step) for chunk in self.house.sent(step)]
            # From the last step on: what has just come to a queue is not taken in the same turn.
            for step in reversed(self.rates):
                for _ in range(min(self.rates[step], len(self.queues[step]))):
                    self._work(*self.queues[step].popleft())

    def _work(self, chunk: Any, index: int) -> None:
        images = [image.id for image in chunk.images]
        last = len(chunk.plan) - 1
        self._tell(chunk, "started", step=index, images=images)
        if index == last:
            timings = [StepTime(step=step, wait=0.1, work=_SECS / (last + 1)) for step in range(last + 1)]
            outcomes = [Outcome(id=image, state="done", timings=timings) for image in images]
            self._tell(chunk, "finished", outcomes=outcomes)
            self.done[chunk.job] += len(images)
        else:
            self._tell(chunk, "stepped", step=index + 1, images=images)
            self.queues[chunk.plan[index + 1]["op"]].append((chunk, index + 1))

    def _tell(self, chunk: Any, kind: Any, **told: Any) -> None:
        self.house.live.observe([Event(kind=kind, job=chunk.job, run=chunk.run, chunk=chunk.chunk, **told)])

    def done_by(self, owner: str) -> int:
        """Count an owner's images, whose jobs begin with its name."""
        return sum(images for job, images in self.done.items() if job.startswith(owner))


def accept(house: Any, owner: str, jobs: int, images: int, **fields: Any) -> None:
    for number in range(jobs):
        house.job(f"{owner}{number}", images, chunk_size=1, owner=owner, **{"plan": list(PLAN), **fields})


@pytest.mark.parametrize("rates", [FIRST_IS_SLOW, SECOND_IS_SLOW], ids=["first step slow", "second step slow"])
def test_an_owner_of_ten_jobs_has_no_more_than_an_owner_of_one(house: Any, rates: Mapping[str, int]) -> None:
    accept(house, "many", 10, 200)
    accept(house, "one", 1, 1_000)
    mill = Mill(house, rates)
    mill.turn(600)
    assert mill.done_by("one") == pytest.approx(mill.done_by("many"), rel=0.2)
    assert mill.done_by("one") + mill.done_by("many") >= 590, "nobody stands idle for it"
    assert max(mill.done.values()) - min(mill.done[f"many{number}"] for number in range(10)) > 200
    assert len(mill.done) == 11, "each of the ten has its turn"


@pytest.mark.parametrize("rates", [FIRST_IS_SLOW, SECOND_IS_SLOW], ids=["first step slow", "second step slow"])
def test_owners_have_what_their_keys_weigh(house: Any, rates: Mapping[str, int]) -> None:
    accept(house, "light", 3, 500, weight=100)
    accept(house, "heavy", 2, 500)
    mill = Mill(house, rates, heavy=3)
    mill.turn(800)
    assert mill.done_by("heavy") == pytest.approx(3 * mill.done_by("light"), rel=0.2)


def test_an_owners_jobs_have_what_they_weigh(house: Any) -> None:
    accept(house, "light", 1, 900, weight=1)
    house.job("heavy", 900, chunk_size=1, owner="light", weight=4)
    mill = Mill(house, FIRST_IS_SLOW)
    mill.turn(800)
    assert mill.done["heavy"] == pytest.approx(4 * mill.done["light0"], rel=0.2)


def test_an_owners_jobs_have_what_they_weigh_beside_another_owner(house: Any) -> None:
    accept(house, "a", 1, 900, weight=1)
    house.job("heavy", 900, chunk_size=1, owner="a", weight=3)
    accept(house, "b", 1, 900)
    mill = Mill(house, FIRST_IS_SLOW)
    mill.turn(800)
    assert mill.done["heavy"] == pytest.approx(3 * mill.done["a0"], rel=0.3)
    assert mill.done_by("b") == pytest.approx(400, rel=0.2)


@pytest.mark.parametrize("rates", [FIRST_IS_SLOW, SECOND_IS_SLOW], ids=["first step slow", "second step slow"])
def test_many_small_jobs_do_not_crowd_out_a_large_one(house: Any, rates: Mapping[str, int]) -> None:
    accept(house, "many", 70, 3)
    accept(house, "one", 1, 600)
    mill = Mill(house, rates)
    mill.turn(280)
    assert mill.done_by("one") == pytest.approx(140, rel=0.2)


@pytest.mark.parametrize("owner", ["large", "small"])
def test_ten_images_behind_large_jobs_wait_for_little_more_than_what_is_queued(house: Any, owner: str) -> None:
    accept(house, "large", 3, 2_000)
    mill = Mill(house, FIRST_IS_SLOW)
    mill.turn(100)
    queued = len(mill.queues["resize"])
    house.job("small", 10, chunk_size=1, owner=owner, plan=list(PLAN))
    mill.turn(queued + 2 * 10 + 10)
    assert mill.done["small"] == 10


def test_jobs_that_wait_for_other_workers_are_not_bounded(house: Any) -> None:
    accept(house, "light", 1, 900, plan=[{"op": "resize", "width": 8, "height": 8}, {"op": "encode"}])
    accept(house, "heavy", 1, 900, plan=[{"op": "blur", "method": "median"}, {"op": "encode"}])
    mill = Mill(house, {"resize": 2, "blur": 2, "encode": 9}, heavy=100)
    mill.turn(200)
    assert mill.done["light0"] == pytest.approx(mill.done["heavy0"], rel=0.05)
    assert mill.done["light0"] >= 390


def test_steps_that_the_same_workers_serve_are_shared_whichever_comes_first(house: Any) -> None:
    pairs = [("resize", "encode"), ("split", "encode"), ("blur", "split")]
    for plan in ([{"op": "resize", "width": 8, "height": 8}], [{"op": "blur", "method": "median"}]):
        accept(house, str(plan[0]["op"]), 1, 900, plan=[*plan, {"op": "encode"}])
    mill = Mill(house, {"resize": 1, "blur": 1, "encode": 9}, blur=8)
    house.live.joined = lambda: set(pairs)
    mill.turn()
    room = {name: house.live.under_way(name) for name in ("resize0", "blur0")}
    assert room["blur0"] > 3 * room["resize0"]


def test_a_job_whose_step_has_no_workers_holds_nobody_back(house: Any) -> None:
    accept(house, "stuck", 2, 500, plan=[PLAN[0], {"op": "split"}, {"op": "encode"}])
    accept(house, "other", 1, 500)
    house.job("own", 500, chunk_size=1, owner="stuck", plan=list(PLAN))
    mill = Mill(house, {"resize": 2, "split": 0, "blur": 2, "encode": 9})
    mill.turn(300)
    assert mill.done["own"] + mill.done["other0"] >= 600 - 3 * 24 - 30, "but for the windows that are stuck"
    assert mill.done["own"] == pytest.approx(mill.done["other0"], rel=0.2)


def test_equal_jobs_of_one_owner_have_whole_windows(house: Any) -> None:
    accept(house, "a", 4, 100)
    Mill(house, FIRST_IS_SLOW).dispatcher.fill()
    assert [house.live.under_way(f"a{number}") for number in range(4)] == [4] * 4


def test_the_lightest_has_an_image_at_a_time(house: Any) -> None:
    accept(house, "light", 2, 100)
    accept(house, "heavy", 1, 10_000)
    mill = Mill(house, FIRST_IS_SLOW, heavy=100)
    mill.turn(100)
    assert 0 < mill.done_by("light") <= 40

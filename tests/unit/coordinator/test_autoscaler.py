"""Autoscaler: replicas follow the work left, up at once and down late."""

from __future__ import annotations

import math

import pytest
from fake_clock import FakeClock

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import ScalingRule
from penstock.coordinator.autoscaler import Autoscaler, count_replicas
from penstock.coordinator.ports.scheduler import Backlog

RULE = ScalingRule(steps=["blur"], min_replicas=0, max_replicas=8, secs_per_replica=10, scale_down_secs=60)


class Cluster:
    """One Deployment, and the work left for it."""

    def __init__(self, rule: ScalingRule = RULE, replicas: int = 1) -> None:
        self.replicas = replicas
        self.work_secs = 0.0
        self.images = 0
        self.leads = True
        self.answers = True
        self.clock = FakeClock()
        self.autoscaler = Autoscaler(
            {"penstock-blur": rule}, self.measure, self, leads=lambda: self.leads, clock=self.clock
        )

    def measure(self, steps: list[str], secs_per_worker: float) -> Backlog:
        wanted = min(math.ceil(self.work_secs / secs_per_worker), self.images)
        return Backlog(tuple(steps), self.work_secs, self.images, self.replicas, wanted)

    def read(self, deployment: str) -> int:
        if not self.answers:
            raise UnavailableError("Kubernetes", "no answer")
        return self.replicas

    def write(self, deployment: str, replicas: int) -> None:
        assert deployment == "penstock-blur"
        self.replicas = replicas

    def after(self, secs: float, work_secs: float, images: int = 1_000) -> int:
        """Return the replicas when there is other work and some time has passed."""
        self.clock.now += secs
        self.work_secs, self.images = work_secs, images if work_secs else 0
        self.autoscaler.scale_once()
        return self.replicas


@pytest.mark.parametrize(
    ("workers", "workers_each", "replicas"), [(0, 1, 0), (1, 1, 1), (8, 1, 8), (9, 1, 8), (7, 3, 3)]
)
def test_replicas_have_the_workers_that_are_wanted(workers: int, workers_each: int, replicas: int) -> None:
    rule = RULE.model_copy(update={"workers_per_replica": workers_each})
    assert count_replicas(Backlog(("blur",), 1.0, 100, 1, workers), rule) == replicas


def test_the_least_number_of_replicas_stays_without_work() -> None:
    rule = RULE.model_copy(update={"min_replicas": 2})
    assert count_replicas(Backlog(("blur",), 0.0, 0, 1), rule) == 2


def test_replicas_are_added_at_once_and_removed_when_they_were_not_needed_for_a_while() -> None:
    cluster = Cluster()
    assert cluster.after(0, 45) == 5
    assert cluster.after(5, 200) == 8
    assert cluster.after(5, 15) == 8
    assert cluster.after(50, 15) == 8
    assert cluster.after(11, 15) == 2
    assert cluster.after(61, 0) == 0
    assert cluster.after(5, 1) == 1


def test_a_new_leader_keeps_what_it_finds_for_a_while() -> None:
    cluster = Cluster(replicas=6)
    assert cluster.after(0, 0) == 6
    assert cluster.after(59, 0) == 6
    assert cluster.after(2, 0) == 0


def test_replicas_above_the_maximum_are_removed_at_once() -> None:
    assert Cluster(replicas=20).after(0, 0) == 8


def test_only_the_leader_scales() -> None:
    cluster = Cluster()
    cluster.leads = False
    assert cluster.after(0, 45) == 1
    cluster.leads = True
    assert cluster.after(5, 45) == 5


def test_what_cannot_be_reached_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    cluster.answers = False
    cluster.after(0, 45)
    cluster.after(5, 45)
    cluster.answers = True
    assert cluster.after(5, 45) == 5
    assert [record.levelname for record in caplog.records if "penstock-blur" in record.message][:1] == ["WARNING"]
    assert sum("not scaled" in record.message for record in caplog.records) == 1

"""Snapshots: followers answer like the leader, also when the two differ in version."""

from __future__ import annotations

import json

import pytest

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Outcome, StepTime
from penstock.coordinator.ports.repository import Job, StoredPlan
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.snapshot import Snapshot, StepSnapshot

PLAN = StoredPlan([{"op": "resize", "width": 8}, {"op": "blur"}])
STATUS_OF_0_1_0 = """{"jobs": {"j": {"positions": [[2, 1], [0, 4]], "rate": 2.5}},
 "steps": {"blur": [0.25, 1.5]}, "kinds": {"ac91": 0.125}, "chunks": {"blur": 2}, "joined": [["resize", "blur"]]}"""


@pytest.fixture
def in_flight() -> InFlight:
    """Two jobs, one of them with an image in each step and one done."""
    made = InFlight()
    job = Job("j", JobState.RUNNING, PLAN, {}, created_at=0.0)
    made.add_dispatched(job, [(0, 0), (1, 0), (2, 0)])
    made.add_dispatched(Job("k", JobState.RUNNING, PLAN, {}, created_at=0.0), [(0, 0)])
    timings = [StepTime(step=0, wait=0.5, work=0.1), StepTime(step=1, wait=0.0, work=0.4)]
    made.apply(
        [
            Event(kind="started", job="j", chunk="c", step=1, images=[1]),
            Event(kind="finished", job="j", chunk="c", outcomes=[Outcome(id=2, state="done", timings=timings)]),
        ]
    )
    return made


def test_a_snapshot_survives_the_way_through_the_database(in_flight: InFlight) -> None:
    snapshot = in_flight.snapshot()
    assert Snapshot.from_json(snapshot.to_json()) == snapshot
    assert snapshot.job("j").positions == [(1, 0), (0, 1)]
    assert snapshot.job("j").images_per_second is not None
    assert snapshot.step("blur").seconds_per_image == 0.4
    assert snapshot.step("blur").busy_workers is not None
    assert snapshot.service_times(PLAN) == in_flight.service_times(PLAN) == [0.1, 0.4]
    assert snapshot.service_times(StoredPlan([{"op": "blur"}, {"op": "encode"}])) == [0.4, None]
    assert snapshot.running_chunks == {"blur": 1}
    assert (snapshot.shared_with("blur"), snapshot.shared_with("encode")) == ({"resize"}, set())


def test_one_job_is_known_without_a_snapshot_of_all(in_flight: InFlight) -> None:
    assert in_flight.job("j").positions == in_flight.snapshot().job("j").positions != []
    assert in_flight.job("unknown").positions == []
    assert in_flight.service_times(PLAN) == [0.1, 0.4]


def test_an_empty_snapshot_knows_nothing() -> None:
    nothing = Snapshot()
    assert (nothing.job("j").positions, nothing.job("j").images_per_second) == ([], None)
    assert (nothing.step("blur"), nothing.service_times(PLAN)) == (StepSnapshot(None, None), [None, None])


def test_the_status_of_an_older_leader_is_read() -> None:
    snapshot = Snapshot.from_json(STATUS_OF_0_1_0)
    assert (snapshot.job("j").positions, snapshot.job("j").images_per_second) == ([(2, 1), (0, 4)], 2.5)
    assert snapshot.step("blur") == (0.25, 1.5)
    assert snapshot.by_prefix == {"ac91": 0.125}
    assert (snapshot.running_chunks, snapshot.shared_with("blur")) == ({"blur": 2}, {"resize"})


def test_an_older_follower_finds_all_it_reads(in_flight: InFlight) -> None:
    status = json.loads(in_flight.snapshot().to_json())
    assert set(status) >= set(json.loads(STATUS_OF_0_1_0))
    assert {"positions", "rate"} <= set(status["jobs"]["j"])
    assert len(status["steps"]["blur"]) == 2
    assert status["joined"] == [["resize", "blur"]]


@pytest.mark.parametrize("text", ['{"jobs": {"j": {"positions": [[1, 0]], "new": 1}}, "new": {}}', "{}"])
def test_unknown_and_missing_fields_are_tolerated(text: str) -> None:
    assert Snapshot.from_json(text).job("j").images_per_second is None


@pytest.mark.parametrize("text", ["", "[]", '{"jobs": 7}', '{"steps": {"blur": [1, 2, 3]}}'])
def test_a_status_that_cannot_be_read_counts_as_empty(text: str) -> None:
    assert Snapshot.from_json(text) == Snapshot()

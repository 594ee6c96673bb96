"""Supervisor: worker processes are started, replaced when they die, drained, and killed if they do not exit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from waiting import wait_until

from penstock.common.broker.memory import MemoryBroker
from penstock.common.input_root import InputRoot
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, ImageRef, read_events, step_queue
from penstock.common.model.plan import make_plan
from penstock.common.registry import operations
from penstock.common.settings import Limits, WorkerSettings
from penstock.worker.process.pipe_worker import PipeWorkerSpec
from penstock.worker.process.supervisor import Supervisor

SECS = 30.0


class SupervisorFixture:
    """A broker, a folder, and supervisors of workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = MemoryBroker()
        self.broker.declare([EVENTS_QUEUE, *(step_queue(step) for step in operations())])
        self._events = self.broker.consume([EVENTS_QUEUE], 1_000)
        self._supervisors: list[Supervisor] = []

    def make(self, count: int = 1, store: Path | None = None) -> Supervisor:
        """Make a supervisor of workers that serve every step."""
        specs = [
            PipeWorkerSpec(
                name=f"worker-{index}",
                steps=tuple(operations()),
                store=store or self.folder / "store",
                input_root=InputRoot(self.folder),
                limits=Limits(),
                settings=WorkerSettings(),
            )
            for index in range(count)
        ]
        self._supervisors.append(Supervisor([spec.process(self.broker) for spec in specs]))
        return self._supervisors[-1]

    def start(self, count: int = 1, store: Path | None = None) -> Supervisor:
        """Start a supervisor and its workers."""
        supervisor = self.make(count, store)
        supervisor.start()
        return supervisor

    def send(self, *numbers: int) -> None:
        """Publish images, each in a chunk of its own."""
        plan = make_plan([["blur", "median"]], None, Limits()).document()
        for number in numbers:
            path = self.folder / f"{number}.png"
            cv2.imwrite(str(path), np.full((9, 9, 3), number, np.uint8))
            image = ImageRef(id=number, stem=str(number), ref=path.as_uri())
            chunk = Chunk(job="j", chunk=str(number), plan=plan, images=[image], results="results/j")
            self.broker.publish(step_queue("blur"), [chunk.model_dump_json().encode()])

    def wait_for_outcomes(self, count: int) -> dict[int, str]:
        """Wait for so many outcomes and until every chunk is acknowledged; return the images' states."""
        states: dict[int, str] = {}
        deadline = time.monotonic() + SECS
        while len(states) < count:
            delivery = self._events.get(max(0.0, deadline - time.monotonic()))
            assert delivery is not None, f"only {len(states)} of {count} images ended in time"
            for event in read_events(delivery.body):
                states.update((outcome.id, outcome.state) for outcome in event.outcomes)
            self._events.ack(delivery)
        wait_until(lambda: not self.broker.depth(step_queue("blur")).in_flight)
        return states

    def close(self) -> None:
        for supervisor in self._supervisors:
            supervisor.stop(5.0)


@pytest.fixture
def supervisors(tmp_path: Path) -> Iterator[SupervisorFixture]:
    supervisors = SupervisorFixture(tmp_path)
    yield supervisors
    supervisors.close()


def pids(supervisor: Supervisor) -> set[int | None]:
    return {process.pid for process in supervisor.processes()}


def test_all_workers_start_and_share_the_work(supervisors: SupervisorFixture) -> None:
    supervisor = supervisors.start(2)
    supervisors.send(*range(20))
    assert supervisors.wait_for_outcomes(20) == dict.fromkeys(range(20), "done")
    wait_until(lambda: len(pids(supervisor)) == 2)


def test_a_killed_worker_is_replaced(supervisors: SupervisorFixture) -> None:
    supervisor = supervisors.start()
    supervisors.send(0)
    supervisors.wait_for_outcomes(1)
    [before] = pids(supervisor)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pids(supervisor) - {before})
    supervisors.send(1)
    assert supervisors.wait_for_outcomes(1) == {1: "done"}


def test_chunks_that_a_stopped_worker_had_not_started_are_requeued(supervisors: SupervisorFixture) -> None:
    supervisor = supervisors.start()
    supervisors.send(0)
    supervisors.wait_for_outcomes(1)
    [pid] = pids(supervisor)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    supervisors.send(1, 2, 3)
    wait_until(lambda: supervisors.broker.depth(step_queue("blur")).in_flight == 2)
    supervisor.stop(0.1)
    assert not supervisor.processes()
    depth = supervisors.broker.depth(step_queue("blur"))
    assert (depth.ready, depth.in_flight) == (3, 0)
    supervisors.start()
    assert supervisors.wait_for_outcomes(3) == dict.fromkeys((1, 2, 3), "done")


def test_stopping_lets_a_worker_exit_on_its_own(supervisors: SupervisorFixture) -> None:
    supervisor = supervisors.start()
    supervisors.send(0)
    supervisors.wait_for_outcomes(1)
    [process] = supervisor.processes()
    supervisor.stop(SECS)
    assert process.exitcode == 0


def test_a_supervisor_reports_workers_that_cannot_start(supervisors: SupervisorFixture) -> None:
    (supervisors.folder / "file").write_bytes(b"")
    failing = supervisors.start(store=supervisors.folder / "file" / "store")
    healthy = supervisors.start()
    supervisors.send(0)
    wait_until(lambda: failing.is_failing)
    assert supervisors.wait_for_outcomes(1) == {0: "done"}
    assert not healthy.is_failing


def test_a_supervisor_can_be_stopped_before_it_was_started_and_twice(supervisors: SupervisorFixture) -> None:
    supervisors.make().stop(1.0)
    started = supervisors.start()
    started.stop(SECS)
    started.stop(1.0)
    assert not started.processes()

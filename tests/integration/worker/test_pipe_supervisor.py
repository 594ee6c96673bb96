"""Worker processes kept running: started, replaced when they die, given time to leave, and ended if they don't."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import wait_until

from penstock.common.broker.memory import MemoryBroker
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, ImageRef, read_events, step_queue
from penstock.common.model.plan import make_plan
from penstock.common.registry import operations
from penstock.common.settings import Limits, WorkerSettings
from penstock.worker.process.pipe_supervisor import PipeSupervisor
from penstock.worker.process.pipe_worker import WorkerSpec

SECS = 30.0


class House:
    """A broker, a folder, and supervisors over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = MemoryBroker()
        self.broker.declare([EVENTS_QUEUE, *(step_queue(step) for step in operations())])
        self._events = self.broker.consume([EVENTS_QUEUE], 1_000)
        self._supervisors: list[PipeSupervisor] = []

    def supervise(self, count: int = 1, **changes: Any) -> PipeSupervisor:
        """Start workers that serve every step."""
        given = {"steps": tuple(operations()), "store": self.folder / "store", **changes}
        specs = [
            WorkerSpec(
                name=f"worker-{index}",
                results=None,
                input_root=self.folder,
                limits=Limits(),
                settings=WorkerSettings(),
                **given,
            )
            for index in range(count)
        ]
        supervisor = PipeSupervisor(self.broker, specs)
        self._supervisors.append(supervisor)
        supervisor.start()
        return supervisor

    def send(self, *numbers: int) -> None:
        """Send pictures, each in a chunk of its own."""
        plan = make_plan([["blur", "median"]], None, Limits()).document()
        for number in numbers:
            path = self.folder / f"{number}.png"
            cv2.imwrite(str(path), np.full((9, 9, 3), number, np.uint8))
            image = ImageRef(id=number, stem=str(number), ref=path.as_uri())
            chunk = Chunk(job="j", chunk=str(number), plan=plan, images=[image], results="results/j")
            self.broker.publish(step_queue("blur"), [chunk.model_dump_json().encode()])

    def finished(self, count: int) -> dict[int, str]:
        """Wait for as many outcomes and until no worker holds anything; return their states by image."""
        states: dict[int, str] = {}
        deadline = time.monotonic() + SECS
        while len(states) < count:
            delivery = self._events.get(max(0.0, deadline - time.monotonic()))
            assert delivery is not None, f"only {len(states)} of {count} images ended in time"
            for event in read_events(delivery.body):
                states.update((outcome.id, outcome.state) for outcome in event.outcomes)
            self._events.ack(delivery)
        wait_until(lambda: not self.broker.depth(step_queue("blur")).in_flight)  # acknowledged, too
        return states

    def close(self) -> None:
        """End what a test has started."""
        for supervisor in self._supervisors:
            supervisor.stop(5.0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def pids(supervisor: PipeSupervisor) -> set[int | None]:
    return {process.pid for process in supervisor.processes()}


def test_all_workers_start_and_share_the_work(house: House) -> None:
    supervisor = house.supervise(2)
    house.send(*range(20))
    assert house.finished(20) == dict.fromkeys(range(20), "done")
    wait_until(lambda: len(pids(supervisor)) == 2)


def test_a_worker_that_is_killed_is_replaced_and_the_next_one_works(house: House) -> None:
    supervisor = house.supervise()
    house.send(0)
    house.finished(1)
    [before] = pids(supervisor)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pids(supervisor) - {before})
    house.send(1)
    assert house.finished(1) == {1: "done"}


def test_what_a_stopped_worker_had_not_started_is_in_the_queue_again(house: House) -> None:
    supervisor = house.supervise()
    house.send(0)
    house.finished(1)
    [pid] = pids(supervisor)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    house.send(1, 2, 3)
    wait_until(lambda: house.broker.depth(step_queue("blur")).in_flight == 2)
    supervisor.stop(0.1)
    assert not supervisor.processes()
    depth = house.broker.depth(step_queue("blur"))
    assert (depth.ready, depth.in_flight) == (3, 0)
    house.supervise()
    assert house.finished(3) == dict.fromkeys((1, 2, 3), "done")


def test_stopping_lets_a_worker_leave_by_itself(house: House) -> None:
    supervisor = house.supervise()
    house.send(0)
    house.finished(1)
    [process] = supervisor.processes()
    supervisor.stop(SECS)
    assert process.exitcode == 0


def test_workers_that_cannot_start_are_told_to_be_hopeless_and_others_are_not(house: House) -> None:
    (house.folder / "file").write_bytes(b"")
    hopeless = house.supervise(store=house.folder / "file" / "store")
    sound = house.supervise()
    house.send(0)
    wait_until(lambda: hopeless.hopeless)
    assert house.finished(1) == {0: "done"}
    assert not sound.hopeless


def test_a_supervisor_may_be_stopped_before_and_after_it_was_started(house: House) -> None:
    spec = WorkerSpec("w", ("blur",), house.folder, None, None, Limits(), WorkerSettings())
    never = PipeSupervisor(house.broker, [spec])
    never.stop(1.0)
    started = house.supervise()
    started.stop(SECS)
    started.stop(1.0)
    assert not started.processes()

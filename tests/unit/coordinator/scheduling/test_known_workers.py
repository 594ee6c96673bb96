"""Known workers: what each does, by its events."""

from __future__ import annotations

from penstock.common.model.messages import Event
from penstock.coordinator.ports.scheduler import WorkerState
from penstock.coordinator.scheduling.worker_counts import KnownWorkers


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def presence(worker: str, waiting_for: str | None = None) -> Event:
    steps = ("blur", "encode")
    return Event(kind="started", job="", chunk="", worker=worker, steps=steps, version="1.2.3", waiting_for=waiting_for)


def chunk(worker: str, kind: str = "started") -> Event:
    return Event(kind=kind, job="j", chunk="c", worker=worker)


def test_a_worker_tells_its_steps_and_version_and_what_it_does() -> None:
    clock = Clock()
    workers = KnownWorkers(clock)
    workers.apply(presence("b:2"), None)
    workers.apply(presence("a:1"), None)
    workers.apply(chunk("a:1"), "blur")
    clock.now += 7
    busy, idle = workers.states()
    assert busy == WorkerState("a:1", ("blur", "encode"), "1.2.3", "blur", 7.0)
    assert (idle.name, idle.step) == ("b:2", None)
    workers.apply(chunk("a:1", "finished"), None)
    assert workers.states()[0].step is None
    workers.apply(presence("a:1", "store full"), None)
    assert workers.states()[0].waiting_for == "store full"
    workers.apply(presence("a:1"), None)
    assert workers.states()[0].waiting_for is None


def test_a_silent_worker_is_gone_unless_it_works_on_a_chunk() -> None:
    clock = Clock()
    workers = KnownWorkers(clock)
    workers.apply(presence("idle:1"), None)
    workers.apply(chunk("busy:1"), "blur")
    clock.now += 61
    assert [worker.name for worker in workers.states()] == ["busy:1"]
    clock.now += 900
    assert workers.states() == []


def test_the_number_of_workers_is_bounded() -> None:
    workers = KnownWorkers(Clock())
    for number in range(2_000):
        workers.apply(presence(f"host:{number}"), None)
    assert len(workers.states()) == 500

"""A database, a store and queues to conduct, all of them real and small, and what makes them stumble."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from coordinator_fixture import CoordinatorFixture, open_coordinator

from penstock.common.broker.memory import MemoryBroker, MemoryConsumer
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import (
    DEAD_LETTER_QUEUE,
    EVENTS_QUEUE,
    Chunk,
    Event,
    Failure,
    Outcome,
    Result,
    read_chunk,
    step_queue,
)
from penstock.common.registry import operations
from penstock.common.store.local import LocalStore
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS, Image, Job, StoredPlan
from penstock.coordinator.scheduling.in_flight import InFlight

SECS = 20.0
PLAN = [{"op": "resize", "width": 8, "height": 8}, {"op": "blur", "method": "median"}, {"op": "encode"}]


class Stumbling:
    """Stands before something real; what is named in `trouble` is raised instead of calling it, once for each."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.trouble: dict[str, list[Exception]] = {}

    def __getattr__(self, name: str) -> Any:
        if self.trouble.get(name):
            raise self.trouble[name].pop(0)
        return getattr(self._real, name)


@dataclass
class House:
    """Everything of a coordinator but its threads."""

    folder: Path
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    live: InFlight = field(default_factory=InFlight)
    _consumers: dict[str, MemoryConsumer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = LocalStore(self.folder / "store")
        self.repository = SqlRepository.sqlite(self.folder / "penstock.sqlite")
        self.broker.declare([EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())])

    def job(self, name: str, images: int | list[Image] = 3, plan: list[Any] = PLAN, **fields: Any) -> Job:
        """Accept a job."""
        self.repository.create_job(
            Job(name, JobState.RECEIVING, StoredPlan.read(plan), {}, created_at=time.time(), **fields)
        )
        if isinstance(images, int):
            images = [Image(number, f"{number}.jpg", f"{number}", f"uploads/u/{number}") for number in range(images)]
        self.repository.add_images(name, images)
        return self.repository.accept_job(name)

    def row(self, name: str) -> Job:
        found = self.repository.get_job(name, ALL_OWNERS)
        assert found is not None
        return found

    def sent(self, step: str = "resize") -> list[Chunk]:
        """Take every chunk that waits for a step."""
        consumer = self._consumers.get(step) or self.broker.consume([step_queue(step)], 100_000)
        self._consumers[step] = consumer
        chunks = []
        while delivery := consumer.get(0.0):
            consumer.ack(delivery)
            chunks.append(read_chunk(delivery.body))
        return chunks

    def tell(self, event: Event) -> None:
        self.broker.publish(EVENTS_QUEUE, [event.model_dump_json().encode()])

    def done(self, job: str, *images: int, run: int = 0) -> Event:
        """Return the event that images are done, their results put where they belong."""
        outcomes = []
        for image in images:
            result = Result(
                key=f"results/{job}/{image}-0.jpg",
                name=f"{image}-0.jpg",
                size=1,
                media_type="image/jpeg",
                width=8,
                height=8,
                sha256="0" * 64,
            )
            self.store.put(result.key, [b"x"])
            outcomes.append(Outcome(id=image, state="done", results=[result]))
        return Event(kind="finished", job=job, run=run, chunk="c", outcomes=outcomes)

    def failed(self, job: str, *images: int, run: int = 0, blob: str | None = None) -> Event:
        failure = Failure(code="internal", message="no", step="blur", retry=True, step_index=1, resume_blob=blob)
        outcomes = [Outcome(id=image, state="failed", error=failure) for image in images]
        return Event(kind="finished", job=job, run=run, chunk="c", outcomes=outcomes)

    def wait_until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + SECS
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.005)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.broker.close()
    made.repository.close()


@pytest.fixture
def stumbling() -> type[Stumbling]:
    return Stumbling


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[CoordinatorFixture]:
    with open_coordinator(tmp_path) as opened:
        yield opened

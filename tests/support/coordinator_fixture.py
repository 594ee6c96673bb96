"""Coordinator without threads for unit tests: a real SQLite database, a store in a folder and queues in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from penstock.common.broker.base import Broker
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
from penstock.common.store.base import Store
from penstock.common.store.local import LocalStore
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS, Image, Job, Repository, StoredPlan
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.fair_share import FairShare
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.coordinator.webhooks.sender import Sender

PLAN = [{"op": "resize", "width": 8, "height": 8}, {"op": "blur", "method": "median"}, {"op": "encode"}]
T = TypeVar("T")


def inject_faults(real: T, **faults: list[Exception]) -> T:
    """Return `real` with some methods failing: each call takes the next exception of its list, until that is empty."""
    return cast(T, _FaultInjector(real, faults))


class _FaultInjector:
    def __init__(self, real: object, faults: dict[str, list[Exception]]) -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        if self._faults.get(name):
            raise self._faults[name].pop(0)
        return getattr(self._real, name)


class ManualClock:
    """A monotonic clock that stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, secs: float) -> None:
        self.now += secs


@dataclass
class CoordinatorFixture:
    """What a coordinator's parts share, and helpers that play the client and the workers."""

    folder: Path
    clock: Callable[[], float] = time.monotonic
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    _consumers: dict[str, MemoryConsumer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.in_flight = InFlight(clock=self.clock)
        self.store = LocalStore(self.folder / "store")
        self.repository = SqlRepository.sqlite(self.folder / "penstock.sqlite")
        self.broker.declare([EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())])

    def accept_job(
        self, name: str, images: int | list[Image] = 3, plan: Sequence[dict[str, Any]] = PLAN, **fields: Any
    ) -> Job:
        """Create and accept a job with `images` images named by numbers, or with those given."""
        self.repository.create_job(
            Job(
                id=name,
                state=JobState.RECEIVING,
                plan=StoredPlan(list(plan)),
                document=fields.pop("document", {}),
                created_at=time.time(),
                **fields,
            )
        )
        if isinstance(images, int):
            images = [Image(number, f"{number}.jpg", f"{number}", f"uploads/u/{number}") for number in range(images)]
        self.repository.add_images(name, images)
        return self.repository.accept_job(name)

    def finish_job(self, name: str, *, failed: bool = False, **fields: Any) -> None:
        """Create a job of one image that has ended."""
        self.accept_job(name, 1, **fields)
        self.repository.take_pending(name, 1)
        self.repository.apply([self.failed(name, 0) if failed else self.done(name, 0)])

    def get_job(self, name: str) -> Job:
        found = self.repository.get_job(name, ALL_OWNERS)
        assert found is not None
        return found

    def take_chunks(self, step: str = "resize") -> list[Chunk]:
        """Take all chunks out of a step's queue, as a worker would."""
        consumer = self._consumers.get(step) or self.broker.consume([step_queue(step)], 100_000)
        self._consumers[step] = consumer
        chunks = []
        while delivery := consumer.get(0.0):
            consumer.ack(delivery)
            chunks.append(read_chunk(delivery.body))
        return chunks

    def send_event(self, event: Event) -> None:
        self.broker.publish(EVENTS_QUEUE, [event.model_dump_json().encode()])

    def done(self, job: str, *images: int, run: int = 0) -> Event:
        """Return the event that images are done, and put their results into the store."""
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
        """Return the event that images failed in the second step; `blob` is what a retry would resume from."""
        failure = Failure(code="internal", message="no", step="blur", retry=True, step_index=1, resume_blob=blob)
        outcomes = [Outcome(id=image, state="failed", error=failure) for image in images]
        return Event(kind="finished", job=job, run=run, chunk="c", outcomes=outcomes)

    def make_dispatcher(
        self,
        settings: DispatchSettings | None = None,
        *,
        repository: Repository | None = None,
        store: Store | None = None,
        broker: Broker | None = None,
        in_flight: InFlight | None = None,
        fair_share: FairShare | None = None,
        find_pressing: Callable[[Sequence[Job]], Collection[str]] | None = None,
    ) -> Dispatcher:
        """Return a dispatcher over these parts or others."""
        return Dispatcher(
            repository or self.repository,
            store or self.store,
            broker or self.broker,
            in_flight or self.in_flight,
            settings or DispatchSettings(),
            fair_share=fair_share,
            find_pressing=find_pressing,
            retry_secs=0.01,
        )

    def make_scheduler(
        self,
        settings: DispatchSettings | None = None,
        *,
        repository: Repository | None = None,
        store: Store | None = None,
        webhook_sender: Sender | None = None,
    ) -> JobScheduler:
        """Return a scheduler over these parts or others, which does not lead yet."""
        return JobScheduler(
            repository or self.repository,
            store or self.store,
            self.broker,
            settings or DispatchSettings(),
            ReconcilerSettings(),
            webhook_sender=webhook_sender,
        )

    def put(self, *keys: str) -> set[str]:
        """Put small objects into the store; return their keys."""
        for key in keys:
            self.store.put(key, [b"x"])
        return set(keys)

    def stored_keys(self) -> set[str]:
        prefixes = ("work", "results", "resume", "cancelled", "plans", "uploads")
        return {key for prefix in prefixes for key in self.store.list(prefix)}


@contextmanager
def open_coordinator(folder: Path, clock: Callable[[], float] = time.monotonic) -> Iterator[CoordinatorFixture]:
    """Open a coordinator's parts in a folder, and close them at the end."""
    coordinator = CoordinatorFixture(folder, clock)
    yield coordinator
    coordinator.broker.close()
    coordinator.repository.close()

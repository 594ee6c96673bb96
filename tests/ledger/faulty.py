"""A coordinator or worker that dies, or is told of a time-out, at a named point: `python faulty.py coordinator …`.

The processes are Penstock's own. Their composition roots are given adapters that do what the real ones do and then
look whether this is the point. Which one it is stands in the environment:

    PENSTOCK_TEST_CRASH_AT=cursor moved:2        kill -9 when the point is reached for the second time
    PENSTOCK_TEST_CRASH_AT=cursor moved:2:lost   it happened, but that call raises UnavailableError
    PENSTOCK_TEST_NOTES=FILE                     a line for each point that is reached, and each redelivery
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from points import STORE_REMOVALS, point_of_put

from penstock.common.broker.base import Consumer, Delivery
from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE
from penstock.common.settings import StoreSettings
from penstock.common.store.base import Buffer, Store, Upload
from penstock.common.store.factory import open_store

CRASH_AT = "PENSTOCK_TEST_CRASH_AT"
NOTES = "PENSTOCK_TEST_NOTES"
REDELIVERED = "redelivered"
STRUCK = "struck"
SENT_SECS = 0.1
"""What is sent by another thread is at the broker after this."""


@dataclass(frozen=True)
class Crash:
    """What shall happen when `point` is reached for the `count`th time: death, or the news that it timed out."""

    point: str
    count: int
    kind: str = "kill"

    @classmethod
    def read(cls, text: str) -> Crash | None:
        """Read `point:n` or `point:n:lost`; nothing is to happen where the text is empty."""
        point, _, rest = text.partition(":")
        count, _, kind = rest.partition(":")
        return cls(point, int(count), kind or "kill") if text else None

    def write(self) -> str:
        """Return the text that `read` reads."""
        return f"{self.point}:{self.count}:{self.kind}"


class Guard:
    """Counts the points that this process reaches, and strikes at the one."""

    def __init__(self, crash: Crash | None, notes: Path | None) -> None:
        self._crash = crash
        self._notes = None if notes is None else os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, point: str | None, *, sent_by_thread: bool = False) -> None:
        """Note a point; die or raise UnavailableError where this is the time."""
        if point is None:
            return
        kind = self._count(point)
        if kind == "kill":
            time.sleep(SENT_SECS if sent_by_thread else 0.0)
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "lost":
            raise UnavailableError("test", f"{point}, and its caller is told that it timed out")

    def is_near(self, point: str) -> bool:
        """Tell whether the process is to die when the point is reached next."""
        crash = self._crash
        return crash is not None and crash == Crash(point, self._counts[point] + 1, "kill")

    def note(self, line: str) -> None:
        """Write a line."""
        if self._notes is not None:
            os.write(self._notes, f"{line}\n".encode())

    def _count(self, point: str) -> str | None:
        with self._lock:
            self._counts[point] += 1
            now = self._crash is not None and (point, self._counts[point]) == (self._crash.point, self._crash.count)
        self.note(point)
        if not now or self._crash is None:
            return None
        self.note(STRUCK)
        return self._crash.kind


class FaultyUpload(Upload):
    """One file being written."""

    def __init__(self, upload: Upload, guard: Guard) -> None:
        self._upload = upload
        self._guard = guard
        self.write, self.abort = upload.write, upload.abort  # type: ignore[method-assign]

    def commit(self) -> int:
        size_bytes = self._upload.commit()
        self._guard.reach("upload stored")
        return size_bytes


class FaultyStore:
    """A store; what has no point is the real one's."""

    def __init__(self, store: Store, guard: Guard) -> None:
        self._store = store
        self._guard = guard

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # a folder is read otherwise than a bucket, and one with points shall be as well
        return type(self._store)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, pieces: Sequence[Buffer]) -> None:
        self._store.put(key, pieces)
        self._guard.reach(point_of_put(key))

    def upload(self, key: str) -> Upload:
        return FaultyUpload(self._store.upload(key), self._guard)

    def delete(self, key: str) -> None:
        self._store.delete(key)
        self._guard.reach("input dropped" if key.startswith("work/") else None)

    def delete_prefix(self, prefix: str) -> None:
        self._store.delete_prefix(prefix)
        self._guard.reach(STORE_REMOVALS.get(prefix.partition("/")[0]))


class FaultyConsumer:
    """A consumer; what has no point is the real one's."""

    def __init__(self, consumer: Consumer, guard: Guard) -> None:
        self._consumer = consumer
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        delivery = self._consumer.get(timeout_secs)
        if delivery is not None:
            if delivery.attempt > 1:
                self._guard.note(REDELIVERED)
            self._guard.reach("event taken" if delivery.queue == EVENTS_QUEUE else "delivered")
        return delivery

    def ack(self, delivery: Delivery) -> None:
        self._consumer.ack(delivery)
        self._guard.reach("event acked" if delivery.queue == EVENTS_QUEUE else "acked", sent_by_thread=True)


def make_broker(guard: Guard, sends_on: str) -> type[RabbitBroker]:
    """Return the class of a broker; `sends_on` begins the names of its points at a step's queue: `""` or `next `."""

    class FaultyBroker(RabbitBroker):
        def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
            what = "outcome " if queue == EVENTS_QUEUE else sends_on
            if not confirm:
                super().publish(queue, bodies, confirm=False)
                guard.reach("news told", sent_by_thread=True)
                return
            published = f"{what}published"
            super().publish(queue, bodies, confirm=not guard.is_near(published))
            guard.reach(published, sent_by_thread=True)
            guard.reach(f"{what}confirmed")

        def publish_then(
            self, messages: Sequence[tuple[str, bytes]], then: Callable[[UnavailableError | None], None]
        ) -> None:
            what = "outcome " if any(queue == EVENTS_QUEUE for queue, _ in messages) else sends_on

            def heard(error: UnavailableError | None) -> None:
                try:
                    guard.reach(f"{what}published")
                    guard.reach(f"{what}confirmed")
                except UnavailableError as lost:
                    error = lost
                then(error)

            dies = guard.is_near(f"{what}published")
            super().publish_then(messages, heard)
            if dies:
                guard.reach(f"{what}published", sent_by_thread=True)

        def consume(self, queues: Sequence[str], prefetch: int) -> Any:
            return FaultyConsumer(super().consume(queues, prefetch), guard)

    return FaultyBroker


def _make_store_opener(guard: Guard) -> Callable[..., Any]:
    def open_faulty(settings: StoreSettings, data: Path | None) -> FaultyStore:
        return FaultyStore(open_store(settings, data), guard)

    return open_faulty


def equip_coordinator(guard: Guard) -> None:
    """Give the coordinator's composition root adapters that reach points."""
    from faulty_repository import make_repository

    from penstock.coordinator import main

    main.open_store = _make_store_opener(guard)
    main.RabbitBroker = make_broker(guard, "")  # type: ignore[misc]
    main.SqlRepository = make_repository(guard)  # type: ignore[misc]


def equip_worker(guard: Guard) -> None:
    """Give the worker's composition root adapters that reach points."""
    from penstock.worker.process import main

    main.open_store = _make_store_opener(guard)
    main.RabbitBroker = make_broker(guard, "next ")  # type: ignore[misc]


def run(arguments: Sequence[str]) -> None:
    """Run `penstock coordinator …` or `penstock worker …` with points; doesn't return."""
    notes = os.environ.get(NOTES)
    guard = Guard(Crash.read(os.environ.get(CRASH_AT, "")), Path(notes) if notes else None)
    {"coordinator": equip_coordinator, "worker": equip_worker}[arguments[0]](guard)
    from penstock.cli.main import main as cli

    sys.argv = ["penstock", *arguments]
    cli.main()


if __name__ == "__main__":
    run(sys.argv[1:])

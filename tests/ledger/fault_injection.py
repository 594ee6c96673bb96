"""Fault injection: a coordinator or worker that is killed, or gets a timeout, at a named point.

The processes are Penstock's own (`python fault_injection.py coordinator …`), with adapters that do what the real ones
do and then check whether this is the point. The environment says which:

    PENSTOCK_TEST_INJECT=cursor moved:2        kill -9 when the point is reached for the second time
    PENSTOCK_TEST_INJECT=cursor moved:2:lost   the call succeeds, but raises UnavailableError
    PENSTOCK_TEST_POINT_LOG=FILE               a line for each point that is reached, and for each redelivery
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from points import STORE_REMOVALS, point_of_delete, point_of_put

from penstock.common.broker.base import ConfirmCallback, Consumer, Delivery
from penstock.common.broker.rabbitmq import broker as rabbitmq
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE
from penstock.common.settings import StoreSettings
from penstock.common.store.base import Buffer, Store, Upload
from penstock.common.store.factory import open_store

INJECT = "PENSTOCK_TEST_INJECT"
POINT_LOG = "PENSTOCK_TEST_POINT_LOG"
REDELIVERED = "redelivered"
INJECTED = "injected"
FIRST_OUTPUT = "first output sent"
SEND_SECS = 0.1
"""After this, the broker has what another thread sends."""


@dataclass(frozen=True)
class Injection:
    """The fault to inject when `point` is reached for the `count`th time: `kill`, or `lost` for a timeout."""

    point: str
    count: int
    kind: str = "kill"

    @classmethod
    def read(cls, text: str) -> Injection | None:
        """Parse `point:n` or `point:n:lost`; an empty text means no fault."""
        point, _, rest = text.partition(":")
        count, _, kind = rest.partition(":")
        return cls(point, int(count), kind or "kill") if text else None

    def write(self) -> str:
        """Return the text that `read` parses."""
        return f"{self.point}:{self.count}:{self.kind}"


class FaultInjector:
    """Counts the points that this process reaches, logs them, and injects the fault."""

    def __init__(self, injection: Injection | None, log: Path | None) -> None:
        self._injection = injection
        self._log = None if log is None else os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, point: str | None, what: str = "test", *, sent_by_thread: bool = False) -> None:
        """Log a point; if the fault is due, die, or raise UnavailableError about a dependency (`what`)."""
        if point is None:
            return
        kind = self._count(point)
        if kind == "kill":
            time.sleep(SEND_SECS if sent_by_thread else 0.0)
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "lost":
            raise UnavailableError(what, f"{point}: a timeout was injected")

    def kills_next(self, point: str) -> bool:
        """Return whether the process will be killed the next time it reaches a point."""
        return self._injection == Injection(point, self._counts[point] + 1, "kill")

    def strikes_next(self, point: str) -> bool:
        """Return whether the fault will be injected the next time that a point is reached."""
        injection = self._injection
        return injection is not None and (point, self._counts[point] + 1) == (injection.point, injection.count)

    def log(self, line: str) -> None:
        """Write a line to the log."""
        if self._log is not None:
            os.write(self._log, f"{line}\n".encode())

    def _count(self, point: str) -> str | None:
        injection = self._injection
        with self._lock:
            self._counts[point] += 1
            is_due = injection is not None and (point, self._counts[point]) == (injection.point, injection.count)
        self.log(point)
        if not is_due or injection is None:
            return None
        self.log(INJECTED)
        return injection.kind


class FaultyUpload(Upload):
    """One file being written."""

    def __init__(self, upload: Upload, injector: FaultInjector, point: str) -> None:
        self._upload = upload
        self._point = point
        self._injector = injector
        self.write, self.abort = upload.write, upload.abort  # type: ignore[method-assign]

    def commit(self) -> int:
        size_bytes = self._upload.commit()
        self._injector.reach(self._point)
        return size_bytes


class FaultyStore:
    """A store; methods without a point are those of the real one."""

    def __init__(self, store: Store, injector: FaultInjector) -> None:
        self._store = store
        self._injector = injector

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # a folder is read in another way than a bucket, with or without points
        return type(self._store)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, pieces: Sequence[Buffer], *, volatile: bool = False) -> None:
        self._store.put(key, pieces, volatile=volatile)
        self._injector.reach(point_of_put(key))

    def upload(self, key: str, *, volatile: bool = False) -> Upload:
        point = "listing written" if key.startswith("work/") else "upload stored"
        return FaultyUpload(self._store.upload(key, volatile=volatile), self._injector, point)

    def delete(self, *keys: str) -> None:
        self._store.delete(*keys)
        self._injector.reach(point_of_delete(keys))

    def delete_prefix(self, prefix: str) -> None:
        self._store.delete_prefix(prefix)
        self._injector.reach(STORE_REMOVALS.get(prefix.partition("/")[0]))


class FaultyConsumer:
    """A consumer; methods without a point are those of the real one."""

    def __init__(self, consumer: Consumer, injector: FaultInjector) -> None:
        self._consumer = consumer
        self._injector = injector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        delivery = self._consumer.get(timeout_secs)
        if delivery is not None:
            if delivery.attempt > 1:
                self._injector.log(REDELIVERED)
            self._injector.reach("event taken" if delivery.queue == EVENTS_QUEUE else "delivered")
        return delivery

    def ack(self, delivery: Delivery) -> None:
        self._consumer.ack(delivery)
        self._injector.reach("event acked" if delivery.queue == EVENTS_QUEUE else "acked", sent_by_thread=True)


class FaultyBroker(rabbitmq.RabbitBroker):
    """The broker of a process. Its class attributes are set once for the process."""

    injector: ClassVar[FaultInjector]
    chunk_prefix: ClassVar[str]
    """Start of the names of its points at a step's queue: empty in a coordinator, `next ` in a worker."""

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        if not confirm:
            super().publish(queue, bodies, confirm=False)
            self.injector.reach("event published", sent_by_thread=True)
            return
        prefix = self._prefix(queue)
        super().publish(queue, bodies, confirm=not self.injector.kills_next(f"{prefix}published"))
        self.injector.reach(f"{prefix}published", "broker", sent_by_thread=True)
        self.injector.reach(f"{prefix}confirmed")
        if any(map(_has_more_outputs, bodies)):
            self.injector.reach(FIRST_OUTPUT, "broker")

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        prefix = self._prefix(*(queue for queue, _ in messages))

        def confirmed(error: UnavailableError | None) -> None:
            try:
                self.injector.reach(f"{prefix}published", "broker")
                self.injector.reach(f"{prefix}confirmed")
            except UnavailableError as lost:
                error = lost
            on_confirm(error)

        first = next((index for index, (_, body) in enumerate(messages) if _has_more_outputs(body)), None)
        if first is not None:
            for queue, body in messages[: first + 1] if self.injector.strikes_next(FIRST_OUTPUT) else ():
                super().publish(queue, [body])
            self.injector.reach(FIRST_OUTPUT, "broker")
        kills = self.injector.kills_next(f"{prefix}published")
        super().publish_then(messages, confirmed)
        if kills:
            self.injector.reach(f"{prefix}published", "broker", sent_by_thread=True)

    def consume(self, queues: Sequence[str], prefetch: int) -> Any:
        return FaultyConsumer(super().consume(queues, prefetch), self.injector)

    def _prefix(self, *queues: str) -> str:
        return "outcome " if EVENTS_QUEUE in queues else self.chunk_prefix


def _has_more_outputs(body: bytes) -> bool:
    """Return whether a message is the first of several about outputs that share an intermediate; events are lists."""
    chunk = json.loads(body)
    return isinstance(chunk, dict) and chunk.get("readers", [])[:1] == [chunk.get("step")]


def _install(module: Any, injector: FaultInjector, chunk_prefix: str) -> None:
    """Give the module that wires a process adapters with points."""

    def open_faulty(settings: StoreSettings, data: Path | None) -> FaultyStore:
        return FaultyStore(open_store(settings, data), injector)

    FaultyBroker.injector, FaultyBroker.chunk_prefix = injector, chunk_prefix
    module.open_store = open_faulty
    module.RabbitBroker = rabbitmq.RabbitBroker = FaultyBroker  # type: ignore[misc]


def install_in_coordinator(injector: FaultInjector) -> None:
    """Give the coordinator adapters with points."""
    from faulty_repository import FaultyRepository

    from penstock.coordinator import main

    _install(main, injector, "")
    FaultyRepository.injector = injector
    main.SqlRepository = FaultyRepository  # type: ignore[misc]


def install_in_worker(injector: FaultInjector) -> None:
    """Give the worker adapters with points."""
    from penstock.worker.process import main

    _install(main, injector, "next ")


INSTALL: dict[str, Callable[[FaultInjector], None]] = {
    "coordinator": install_in_coordinator,
    "worker": install_in_worker,
}


def run(arguments: Sequence[str]) -> None:
    """Run `penstock coordinator …` or `penstock worker …` with points; does not return."""
    log = os.environ.get(POINT_LOG)
    injector = FaultInjector(Injection.read(os.environ.get(INJECT, "")), Path(log) if log else None)
    INSTALL[arguments[0]](injector)
    from penstock.cli.main import main

    sys.argv = ["penstock", *arguments]
    main()


if __name__ == "__main__":
    run(sys.argv[1:])

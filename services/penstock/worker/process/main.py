"""`penstock worker`: serves steps to a coordinator, over RabbitMQ and a store that both can reach.

A composition root. What works on pictures is imported where it is needed, so that the allocator is set before OpenCV
is loaded.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.logs import set_up_logs
from penstock.common.metrics import CallCounters
from penstock.common.registry import declare_steps
from penstock.common.settings import (
    BrokerSettings,
    KubernetesSettings,
    Limits,
    SettingsError,
    StoreSettings,
    WorkerSettings,
)
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.composite import CompositeStore
from penstock.common.store.factory import open_store
from penstock.common.store.local import LocalStore
from penstock.common.tracing.factory import open_tracing
from penstock.worker.liveness import remove
from penstock.worker.process.pod_deletion_cost import DeletionCost, OwnPod
from penstock.worker.process.probe import is_fresh, name_files
from penstock.worker.process.supervisor import USED_WRONGLY, ProcessSpec, Supervisor, call_when_orphaned
from penstock.worker.served_steps import read_steps

if TYPE_CHECKING:
    from penstock.worker.worker import Worker

log = logging.getLogger(__name__)

_POLL_SECS = 0.5
_READERS = 2
"""Threads that read ahead: one for the next image of this chunk, one for the next chunk."""


@dataclass(frozen=True)
class ServiceSpec:
    """What a process of `penstock worker` is told at its start. `served` are the steps it performs."""

    served: frozenset[str]
    limits: Limits
    settings: WorkerSettings
    broker_url: str
    broker: BrokerSettings
    store: StoreSettings


def work(
    settings: WorkerSettings,
    limits: Limits,
    broker: BrokerSettings,
    store: StoreSettings,
    kubernetes: KubernetesSettings,
) -> int:
    """Serve steps until SIGTERM or SIGINT; a second one leaves at once. Returns the exit status.

    Raises:
        SettingsError: no such step, no broker, no store, or one that cannot be used.
    """
    declare_steps(settings.step_schemas)
    served = read_steps(settings.steps, program=bool(settings.program))
    if broker.broker_url is None:
        raise _refuse("no broker; --broker or PENSTOCK_BROKER_URL names it: amqp://user:password@host:port/vhost")
    if store.store_url is None:
        raise _refuse("no store; --store or PENSTOCK_STORE_URL names it: s3://bucket, or file:///folder on one host")
    spec = ServiceSpec(served, limits, settings, broker.broker_url, broker, store)
    set_up_logs("worker")
    for file in liveness_files(settings):
        remove(file)  # a container that is started again finds the last one's
    _tell_kubernetes(settings, kubernetes)
    if settings.concurrency == 1:
        return serve_steps(spec)
    return Supervisor(make_members(spec), settings.drain_secs).run()


def _tell_kubernetes(settings: WorkerSettings, kubernetes: KubernetesSettings) -> None:
    """Begin to note how busy this worker is on its pod, where that is wanted."""
    if kubernetes.deletion_cost:
        if settings.liveness_file is None:
            raise _refuse("no liveness file; PENSTOCK_LIVENESS_FILE names it, which PENSTOCK_DELETION_COST needs")
        DeletionCost(liveness_files(settings), OwnPod(kubernetes).write_cost).start()


def check_alive(settings: WorkerSettings) -> int:
    """Return 0 where every process of the worker gets on, 1 otherwise.

    Raises:
        SettingsError: it writes no file by which that could be told.
    """
    files = liveness_files(settings)
    if not files:
        raise _refuse("no liveness file; PENSTOCK_LIVENESS_FILE names it, for the worker and for this")
    return 0 if all(is_fresh(file) for file in files) else 1


def liveness_files(settings: WorkerSettings) -> list[Path]:
    """Return the file that each process writes."""
    if settings.liveness_file is None:
        return []
    return [Path(file) for file in name_files(str(settings.liveness_file), settings.concurrency)]


def make_members(spec: ServiceSpec) -> list[ProcessSpec]:
    """Return as many processes as the settings' concurrency, each to be run by a `Supervisor`."""
    files: Sequence[Path | None] = liveness_files(spec.settings) or [None] * spec.settings.concurrency
    each = [spec.settings.model_copy(update={"liveness_file": file, "concurrency": 1}) for file in files]
    return [
        ProcessSpec(f"{'-'.join(sorted(spec.served))}-{index}", serve_as_member, (replace(spec, settings=settings),))
        for index, settings in enumerate(each)
    ]


def serve_as_member(spec: ServiceSpec) -> None:
    """Serve steps in a process of a crew, which decides what Ctrl-C means, and must not be outlived."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    call_when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        sys.exit(serve_steps(spec))
    except SettingsError as error:
        log.error("%s", error.message)
        sys.exit(USED_WRONGLY)


def serve_steps(spec: ServiceSpec) -> int:
    """Serve steps in this process until it is told to leave; returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until there is something to finish
    from penstock.worker.process import preload  # noqa: F401 (first: it sets the allocator before OpenCV is loaded)
    from penstock.worker.executors.external import make_performer  # isort: skip
    from penstock.worker.context import WorkerContext
    from penstock.worker.image_sources import Sources
    from penstock.worker.worker import Worker

    set_up_logs("worker")
    declare_steps(spec.settings.step_schemas)
    performer = make_performer(spec.settings, spec.limits, spec.served)
    opened, buckets = open_store(spec.store, None), BucketAllowlist.of(spec.store)
    tally = CallCounters()
    store = CompositeStore(opened, buckets, tally)
    broker = RabbitBroker(spec.broker_url, spec.broker, tally)
    remote = not isinstance(opened, LocalStore)
    bench = WorkerContext(
        name=f"{socket.gethostname()}:{os.getpid()}",
        store=store,
        broker=broker,
        sources=Sources(store, spec.limits, spec.settings.input_root, buckets),
        limits=spec.limits,
        served=spec.served,
        max_pixels_in_flight=spec.settings.max_pixels_in_flight,
        reader=ThreadPoolExecutor(_READERS, "reader") if remote else None,
        performer=performer,
        tracing=open_tracing("worker"),
        tally=tally,
    )
    run_until_told(Worker(bench, spec.settings, overlap=remote), spec.settings.drain_secs)
    broker.close()
    return 0


def run_until_told(worker: Worker, drain_secs: float) -> None:
    """Run a worker until a signal says to leave: on a thread, so that a signal is heard while native code computes."""
    signals = _Signals(worker, drain_secs)
    with ThreadPoolExecutor(1, "worker") as thread:
        ended = thread.submit(worker.run)
        while not wait([ended], _POLL_SECS).done:
            signals.leave_if_late()
    ended.result()


class _Signals:
    """The first SIGTERM or SIGINT drains, the second leaves at once: the broker gives to others what was not done."""

    def __init__(self, worker: Worker, drain_secs: float) -> None:
        self._worker = worker
        self._drain_secs = drain_secs
        self._deadline: float | None = None
        signal.signal(signal.SIGTERM, self._heard)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._heard)

    def leave_if_late(self) -> None:
        """End the process where what was started takes too long to wait for."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            log.warning("not done %g s after the signal to leave; what was begun goes to others", self._drain_secs)
            os._exit(128 + signal.SIGTERM)

    def _heard(self, number: int, _: FrameType | None) -> None:
        if self._deadline is not None:
            os._exit(128 + number)
        if not self._worker.consumes:
            os._exit(0)  # it waits for the broker, and has taken nothing
        self._deadline = time.monotonic() + self._drain_secs
        self._worker.stop()


def _refuse(message: str) -> SettingsError:
    return SettingsError("invalid_settings", message)

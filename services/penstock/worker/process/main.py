"""`penstock worker`: serves steps to a coordinator, over RabbitMQ and a shared store.

A composition root. Modules that need OpenCV are imported late, because the allocator must be configured first.
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

from penstock import __version__
from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.environment import warn_of_misspelt_variables
from penstock.common.input_root import input_root
from penstock.common.logs import announce, set_up_logs
from penstock.common.metrics import CallCounters
from penstock.common.registry import declare_steps, log_broken_steps, operations
from penstock.common.settings import (
    BrokerSettings,
    KubernetesSettings,
    Limits,
    SettingsError,
    StoreSettings,
    WorkerSettings,
)
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.factory import open_store, store_folder
from penstock.common.store.local import LocalStore
from penstock.common.tracing.base import open_tracing
from penstock.common.wording.urls import show_url
from penstock.worker.liveness import remove
from penstock.worker.process.pod_deletion_cost import DeletionCost, OwnPod
from penstock.worker.process.probe import is_fresh, is_ready, name_files
from penstock.worker.process.served_steps import read_steps
from penstock.worker.process.supervisor import EXIT_USAGE, ProcessSpec, Supervisor, call_when_orphaned

if TYPE_CHECKING:
    from penstock.worker.worker import Worker

log = logging.getLogger(__name__)

_POLL_SECS = 0.5


@dataclass(frozen=True)
class ServiceSpec:
    """What a process of `penstock worker` needs. `served` are the steps that it runs.

    `data` is a coordinator's data folder on this host, if it is known.
    """

    served: frozenset[str]
    limits: Limits
    settings: WorkerSettings
    broker_url: str
    broker: BrokerSettings
    store: StoreSettings
    data: Path | None = None


def work(
    settings: WorkerSettings,
    limits: Limits,
    broker: BrokerSettings,
    store: StoreSettings,
    kubernetes: KubernetesSettings,
) -> int:
    """Serve steps until SIGTERM or SIGINT; a second one exits at once. Returns the exit status.

    Raises:
        SettingsError: no such step, no broker, no store, or one that cannot be used.
    """
    declare_steps(settings.declared_steps)
    served = read_steps(settings.steps, program=bool(settings.program))
    if broker.broker_url is None:
        raise _refuse("no broker; give --broker or PENSTOCK_BROKER_URL: amqp://user:password@host:port/vhost")
    if store.store_url is None:
        raise _refuse("no store; give --store or PENSTOCK_STORE_URL: s3://bucket, or file:///folder on one host")
    spec = ServiceSpec(served, limits, settings, broker.broker_url, broker, store)
    set_up_logs("worker")
    warn_of_misspelt_variables()
    log_broken_steps()
    for file in liveness_files(settings):
        remove(file)  # a container that is restarted finds those of the last one
    if kubernetes.deletion_cost:
        if settings.liveness_file is None:
            raise _refuse("PENSTOCK_DELETION_COST needs a liveness file; set PENSTOCK_LIVENESS_FILE")
        DeletionCost(liveness_files(settings), OwnPod(kubernetes).write_cost).start()
    processes = f"{settings.concurrency} process{'es' * (settings.concurrency > 1)}"
    steps = [step for step in operations() if step in served]
    line = (
        f"Penstock {__version__} serves {', '.join(steps)} with {processes} (Ctrl-C ends it):"
        f" broker {show_url(broker.broker_url)}, store {show_url(store.store_url)}"
    )
    if settings.concurrency == 1:
        return serve_steps(spec, line)
    announce(line)
    return Supervisor(make_processes(spec)).run(settings.drain_secs)


def check_alive(settings: WorkerSettings, *, ready: bool = False) -> int:
    """Return 0 if every process of the worker is alive, or ready, else 1.

    Raises:
        SettingsError: it writes no liveness file.
    """
    files = liveness_files(settings)
    if not files:
        raise _refuse("--alive needs a liveness file; set PENSTOCK_LIVENESS_FILE, for the worker as well")
    return 0 if all(map(is_ready if ready else is_fresh, files)) else 1


def liveness_files(settings: WorkerSettings) -> list[Path]:
    """Return the file that each process writes."""
    if settings.liveness_file is None:
        return []
    return [Path(file) for file in name_files(str(settings.liveness_file), settings.concurrency)]


def make_processes(spec: ServiceSpec) -> list[ProcessSpec]:
    """Return as many processes as the settings' concurrency, for a `Supervisor`."""
    files: Sequence[Path | None] = liveness_files(spec.settings) or [None] * spec.settings.concurrency
    each = [spec.settings.model_copy(update={"liveness_file": file, "concurrency": 1}) for file in files]
    return [
        ProcessSpec(f"{'-'.join(sorted(spec.served))}-{index}", serve_in_child, (replace(spec, settings=settings),))
        for index, settings in enumerate(each)
    ]


def serve_in_child(spec: ServiceSpec) -> None:
    """Serve steps in a process of a supervisor, which decides what Ctrl-C means; ends when the supervisor has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    call_when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        sys.exit(serve_steps(spec))
    except SettingsError as error:
        log.error("%s", error.message)
        sys.exit(EXIT_USAGE)


def serve_steps(spec: ServiceSpec, line: str | None = None) -> int:
    """Serve steps in this process until a signal; returns the exit status. The `line` is announced, if there is one."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until there is something to finish
    from penstock.worker.process import preload  # noqa: F401 (first: it configures the allocator before OpenCV)
    from penstock.worker.process.device import use_device  # isort: skip
    from penstock.worker.executors.external import make_executor
    from penstock.worker.memory import measure_memory
    from penstock.worker.worker import build_worker

    set_up_logs("worker")
    declare_steps(spec.settings.declared_steps)
    use_device(spec.settings.device)
    memory = measure_memory(spec.settings)
    executor = make_executor(spec.settings, spec.limits, spec.served, memory)
    counters = CallCounters()
    store = open_store(spec.store, None)
    broker = RabbitBroker(spec.broker_url, spec.broker, counters)
    worker = build_worker(
        f"{socket.gethostname()}:{os.getpid()}",
        spec.served,
        store,
        broker,
        executor,
        spec.limits,
        spec.settings,
        input_root=input_root(spec.settings.input_root, data=spec.data, store=store_folder(spec.store)),
        buckets=BucketAllowlist.from_settings(spec.store),
        counters=counters,
        tracing=open_tracing("worker"),
        memory=memory,
        overlap=not isinstance(store, LocalStore),
    )
    if line is not None:
        announce(line)
    run_until_signal(worker, spec.settings.drain_secs)
    broker.close()
    return 0


def run_until_signal(worker: Worker, drain_secs: float) -> None:
    """Run a worker on a thread, so that signals are handled while native code computes.

    The first SIGTERM or SIGINT drains the worker, the second exits at once: the broker redelivers the rest.
    """
    deadline: float | None = None

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal deadline
        if deadline is not None:
            os._exit(128 + number)
        if not worker.is_consuming:
            os._exit(0)  # it waits for the broker, and has nothing to finish
        deadline = time.monotonic() + drain_secs
        worker.stop()

    signal.signal(signal.SIGTERM, on_signal)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, on_signal)
    with ThreadPoolExecutor(1, "worker") as thread:
        ended = thread.submit(worker.run)
        while not wait([ended], _POLL_SECS).done:
            if deadline is not None and time.monotonic() > deadline:
                log.warning("not drained within %g s; unfinished chunks will be redelivered", drain_secs)
                os._exit(128 + signal.SIGTERM)
    ended.result()


def _refuse(message: str) -> SettingsError:
    return SettingsError("invalid_settings", message)

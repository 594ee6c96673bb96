"""Composition root of a worker process of `penstock run` and `penstock serve`, connected to its broker by a pipe."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.common.broker.memory import MemoryBroker
from penstock.common.broker.pipe import PipeBroker, serve_pipe
from penstock.common.input_root import InputRoot
from penstock.common.logs import set_up_logs
from penstock.common.metrics import CallCounters
from penstock.common.registry import declare_steps
from penstock.common.settings import Limits, StoreSettings, WorkerSettings
from penstock.common.store.local import LocalStore
from penstock.common.tracing.base import open_tracing
from penstock.worker.process.supervisor import ProcessSpec

if TYPE_CHECKING:
    from penstock.worker.worker import Worker


@dataclass(frozen=True)
class PipeWorkerSpec:
    """What such a process needs.

    `buckets` says which buckets jobs may name; None: none. `logs_outages`: log what it waits for, besides its events.
    """

    name: str
    steps: tuple[str, ...]
    store: Path
    input_root: InputRoot | None
    limits: Limits
    settings: WorkerSettings
    buckets: StoreSettings | None = None
    logs_outages: bool = True

    def process(self, broker: MemoryBroker) -> ProcessSpec:
        """Return the process for a supervisor, connected to a broker in this process."""
        return ProcessSpec(self.name, run_worker_process, (self,), partial(serve_pipe, broker))


def run_worker_process(connection: Connection, spec: PipeWorkerSpec) -> None:
    """Serve steps until SIGTERM (after the current image), or until the broker's process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    try:
        worker = _build(connection, spec)
    except Exception as error:
        sys.stderr.write(f"{spec.name} cannot start: {type(error).__name__}: {error}\n")
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()


def _build(connection: Connection, spec: PipeWorkerSpec) -> Worker:
    # Imported late, because the process that only starts workers need not load the steps.
    from penstock.worker.process import preload  # noqa: F401 (first: it configures the allocator before OpenCV)
    from penstock.common.store.bucket_allowlist import BucketAllowlist  # isort: skip
    from penstock.worker.executors.external import make_executor
    from penstock.worker.memory import measure_memory
    from penstock.worker.outage import hide_outages
    from penstock.worker.process.device import use_device
    from penstock.worker.worker import build_worker

    set_up_logs(spec.name)
    if not spec.logs_outages:
        hide_outages()
    counters = CallCounters()
    declare_steps(spec.settings.declared_steps)
    use_device(spec.settings.device)
    memory = measure_memory(spec.settings)
    return build_worker(
        spec.name,
        spec.steps,
        LocalStore(
            spec.store,
            reserve_bytes=spec.buckets.reserve_bytes if spec.buckets else 0,
            fsync=spec.buckets is not None and spec.buckets.fsync,
        ),
        PipeBroker(connection, on_lost=lambda: os._exit(0), counters=counters),
        make_executor(spec.settings, spec.limits, spec.steps, memory),
        spec.limits,
        spec.settings,
        input_root=spec.input_root,
        buckets=BucketAllowlist.from_settings(spec.buckets) if spec.buckets else None,
        counters=counters,
        tracing=open_tracing("worker"),
        memory=memory,
    )

"""The composition root of a worker process that `penstock run` and `penstock serve` start."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.common.settings import Limits, StoreSettings, WorkerSettings

if TYPE_CHECKING:
    from penstock.worker.worker import Worker


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker process is told at its start."""

    name: str
    steps: tuple[str, ...]
    store: Path
    results: Path | None
    input_root: Path | None
    limits: Limits
    settings: WorkerSettings
    buckets: StoreSettings | None = None
    """Says which buckets jobs may name; None: none."""


def run_worker_process(connection: Connection, spec: WorkerSpec) -> None:
    """Serve steps until SIGTERM (which finishes the image at hand), or until the broker's process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    try:
        worker = _make_worker(connection, spec)
    except Exception as error:
        sys.stderr.write(f"{spec.name} cannot start: {type(error).__name__}: {error}\n")
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()


def _make_worker(connection: Connection, spec: WorkerSpec) -> Worker:
    # Imported here and not above, so that whoever only starts workers need not load the steps.
    from penstock.worker.process import preload  # noqa: F401 (first: it sets the allocator before OpenCV is loaded)
    from penstock.common.broker.pipe import PipeBroker  # isort: skip
    from penstock.common.logs import set_up_logs
    from penstock.common.metrics import CallCounters
    from penstock.common.registry import declare_steps
    from penstock.common.store.bucket_allowlist import BucketAllowlist
    from penstock.common.store.composite import CompositeStore
    from penstock.common.store.local import LocalStore
    from penstock.common.tracing.factory import open_tracing
    from penstock.worker.context import WorkerContext
    from penstock.worker.executors.external import make_performer
    from penstock.worker.image_sources import Sources
    from penstock.worker.worker import Worker

    set_up_logs(spec.name)
    declare_steps(spec.settings.step_schemas)
    buckets = BucketAllowlist.of(spec.buckets) if spec.buckets else BucketAllowlist()
    tally = CallCounters()
    store = CompositeStore(LocalStore(spec.store, spec.results), buckets, tally)
    bench = WorkerContext(
        name=spec.name,
        store=store,
        broker=PipeBroker(connection, on_lost=lambda: os._exit(0), counters=tally),
        sources=Sources(store, spec.limits, spec.input_root, buckets),
        limits=spec.limits,
        served=frozenset(spec.steps),
        max_pixels_in_flight=spec.settings.max_pixels_in_flight,
        performer=make_performer(spec.settings, spec.limits, spec.steps),
        tracing=open_tracing("worker"),
        tally=tally,
    )
    return Worker(bench, spec.settings)

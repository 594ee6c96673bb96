"""Builds a worker from its settings, store, broker and executor."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penstock.common.broker.base import Broker
from penstock.common.metrics import CallCounters
from penstock.common.settings import Limits, WorkerSettings
from penstock.common.store.base import Store
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.composite import CompositeStore
from penstock.common.tracing.base import NO_TRACING, Tracing
from penstock.worker.chunk_input import PixelBudget
from penstock.worker.chunk_task import WorkerContext
from penstock.worker.events import EventPublisher
from penstock.worker.executors.base import StepExecutor
from penstock.worker.image_sources import ImageSources
from penstock.worker.worker import Worker

_PREFETCH_THREADS = 2
"""One for the next image of this chunk, one for the next chunk."""


def build_worker(
    name: str,
    served: Collection[str],
    store: Store,
    broker: Broker,
    executor: StepExecutor,
    limits: Limits,
    settings: WorkerSettings,
    *,
    input_root: Path | None,
    buckets: BucketAllowlist | None = None,
    counters: CallCounters | None = None,
    tracing: Tracing = NO_TRACING,
    overlap: bool = False,
    requeue_secs: float = 2.0,
) -> Worker:
    """Return a worker that serves some steps.

    Args:
        name: names the worker in its events.
        served: the steps that it runs.
        input_root: the folder below which images' files may be; None: no files.
        buckets: the buckets that images may be read from and results written to; None: none.
        counters: count the calls of the broker; those of the store are added.
        overlap: whether to read the next chunk and write the last one while one is processed.
        requeue_secs: longest wait before a chunk is requeued after the broker refused its messages.
    """
    buckets = buckets or BucketAllowlist()
    counters = counters or CallCounters()
    store = CompositeStore(store, buckets, counters)
    context = WorkerContext(
        name=name,
        served=frozenset(served),
        store=store,
        broker=broker,
        sources=ImageSources(store, limits, input_root, buckets),
        executor=executor,
        pixel_budget=PixelBudget(settings.max_pixels_in_flight),
        prefetcher=ThreadPoolExecutor(_PREFETCH_THREADS, "prefetch") if overlap else None,
        tracing=tracing,
        counters=counters,
        events=EventPublisher(broker, counters),
    )
    return Worker(context, settings, requeue_secs)

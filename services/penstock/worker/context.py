"""WorkerContext: what a worker's parts share."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from penstock.common.broker.base import Broker
from penstock.common.metrics import CallCounters
from penstock.common.store.base import Store
from penstock.common.tracing.base import Tracing
from penstock.worker.events import EventPublisher
from penstock.worker.executors.base import StepExecutor
from penstock.worker.image_sources import ImageSources
from penstock.worker.pixel_budget import PixelBudget


@dataclass(frozen=True)
class WorkerContext:
    """What a worker's parts share. `served` are its steps; `prefetcher` reads ahead, None: nothing does."""

    name: str
    served: frozenset[str]
    store: Store
    broker: Broker
    sources: ImageSources
    executor: StepExecutor
    pixel_budget: PixelBudget
    prefetcher: Executor | None
    tracing: Tracing
    counters: CallCounters
    events: EventPublisher

"""WorkerContext: what the parts of a worker share."""

import json
import math
from concurrent.futures import Executor
from dataclasses import dataclass

from penstock.common.broker.base import Broker
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import PlanError
from penstock.common.model.messages import Chunk
from penstock.common.model.plan import Plan, plan_of
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.tracing.base import Tracing
from penstock.worker.chunk_input import PixelBudget
from penstock.worker.events import EventPublisher
from penstock.worker.executors.base import StepExecutor
from penstock.worker.image_sources import ImageSources
from penstock.worker.memory import WorkerMemory


@dataclass(frozen=True)
class WorkerContext:
    """`served` are the worker's steps; `prefetcher` reads ahead, None: nothing does."""

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
    memory: WorkerMemory | None = None
    image_timeout_secs: float = math.inf

    def load_plan(self, chunk: Chunk) -> Plan:
        """Return a chunk's plan, from the store unless the message has it.

        Raises:
            PlanError: it is missing, or cannot be run here.
            UnavailableError: the store is unreachable.
        """
        if not isinstance(chunk.plan, str):
            return plan_of(chunk.plan)
        try:
            return plan_of(json.loads(self.store.get(chunk.plan)))
        except (ObjectNotFoundError, ValueError) as error:
            raise PlanError("plan_lost", "the job's plan is missing from the store") from error

"""What a worker works with."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field

from penstock.common.broker.base import Broker
from penstock.common.metrics import CallCounters
from penstock.common.settings import Limits
from penstock.common.store.base import Store
from penstock.common.tracing.base import NO_TRACING, Tracing
from penstock.worker.events import EventPublisher
from penstock.worker.executors.base import StepExecutor
from penstock.worker.image_sources import Sources
from penstock.worker.pixel_budget import PixelBudget


@dataclass(frozen=True)
class WorkerContext:
    """What a worker works with.

    `served` are the steps it performs. `reader` reads ahead, None where the store answers at once. `held` counts the
    pixels in memory, of which there should be no more than `max_pixels_in_flight`. `performer` is who performs the
    operations; None: this process. `tally` counts, for the teller to take along.
    """

    name: str
    store: Store
    broker: Broker
    sources: Sources
    limits: Limits
    served: frozenset[str]
    max_pixels_in_flight: int
    reader: Executor | None = None
    performer: StepExecutor | None = None
    tracing: Tracing = NO_TRACING
    tally: CallCounters = field(default_factory=CallCounters)
    held: PixelBudget = field(default_factory=PixelBudget)
    hands: StepExecutor = field(init=False)
    teller: EventPublisher = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hands", self.performer or _in_process(self.limits))
        object.__setattr__(self, "teller", EventPublisher(self.broker, self.tally))


def _in_process(limits: Limits) -> StepExecutor:
    # Imported here and not above, so that who has others perform need not load what works on pictures.
    from penstock.worker.executors.in_process import InProcessExecutor

    return InProcessExecutor(limits)

"""What a worker works with."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field

from penstock.common.broker.port import Broker
from penstock.common.metrics import Tally
from penstock.common.settings import Limits
from penstock.common.store.port import Store
from penstock.common.tracing import NO_TRACING, Tracing
from penstock.worker.held import Held
from penstock.worker.performing import Performer
from penstock.worker.sources import Sources
from penstock.worker.telling import Teller


@dataclass(frozen=True)
class Bench:
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
    performer: Performer | None = None
    tracing: Tracing = NO_TRACING
    tally: Tally = field(default_factory=Tally)
    held: Held = field(default_factory=Held)
    hands: Performer = field(init=False)
    teller: Teller = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hands", self.performer or _in_process(self.limits))
        object.__setattr__(self, "teller", Teller(self.broker, self.tally))


def _in_process(limits: Limits) -> Performer:
    # Imported here and not above, so that who has others perform need not load what works on pictures.
    from penstock.worker.compute import InProcess

    return InProcess(limits)

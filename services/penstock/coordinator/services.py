"""What the REST API stands on; the composition root puts it together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from penstock.common.broker.port import Broker
from penstock.common.settings import Limits
from penstock.common.store.port import Store
from penstock.common.store.sources import SourceBuckets
from penstock.coordinator.engine_port import Engine
from penstock.coordinator.keys import Keys
from penstock.coordinator.replicas import Replicas
from penstock.coordinator.repository import Repository


def _nobody_knows(_: str) -> None:
    return None


@dataclass(frozen=True)
class Services:
    """The adapters and limits of one coordinator. `input_root` is where jobs may name files; None: nowhere."""

    repository: Repository
    store: Store
    broker: Broker
    engine: Engine
    limits: Limits
    input_root: Path | None
    sources: SourceBuckets = field(default_factory=SourceBuckets)
    """The buckets that jobs may name; none unless given."""
    find_replicas: Callable[[str], Replicas | None] = _nobody_knows
    """Tells how many replicas a step has; None where nobody knows."""
    accel_prefix: str | None = None
    """Where the nginx in front has the store's files, for X-Accel-Redirect; None: this process sends them."""
    keys: Keys | None = None
    """The keys that open the REST API; None: it is open to everybody."""
    session_secs: float = 43_200.0
    """How long a browser stays logged in."""

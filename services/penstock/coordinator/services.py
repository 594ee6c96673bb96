"""What the REST API stands on; the composition root puts it together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from penstock.common.broker.port import Broker
from penstock.common.settings import Limits
from penstock.common.store.port import Store
from penstock.common.store.sources import SourceBuckets
from penstock.coordinator.engine_port import Engine
from penstock.coordinator.repository import Repository


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
    accel_prefix: str | None = None
    """Where the nginx in front has the store's files, for X-Accel-Redirect; None: this process sends them."""

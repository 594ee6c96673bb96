"""What the REST API stands on; the composition root puts it together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penstock.common.broker.port import Broker
from penstock.common.settings import Limits
from penstock.common.store.port import Store
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

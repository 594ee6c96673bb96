"""What the REST API stands on; the composition root puts it together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from penstock.common.broker.base import Broker
from penstock.common.settings import Limits
from penstock.common.store.base import Store
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.coordinator.auth.keys import Keys
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.repository import Repository
from penstock.coordinator.ports.scheduler import Scheduler
from penstock.coordinator.scheduling.replicas import Replicas
from penstock.coordinator.webhooks.rules import WebhookRules


def _nobody_knows(_: str) -> None:
    return None


@dataclass(frozen=True)
class Services:
    """The adapters and limits of one coordinator. `input_root` is where jobs may name files; None: nowhere."""

    repository: Repository
    store: Store
    broker: Broker
    engine: Scheduler
    limits: Limits
    input_root: Path | None
    sources: BucketAllowlist = field(default_factory=BucketAllowlist)
    """The buckets that jobs may name; none unless given."""
    find_replicas: Callable[[str], Replicas | None] = _nobody_knows
    """Tells how many replicas a step has; None where nobody knows."""
    advice_secs: float = 300.0
    """Within how long the work at hand is to be done, for advice on replicas."""
    can_grow: bool = True
    """Whether workers can be added while it runs."""
    accel_prefix: str | None = None
    """Where the nginx in front has the store's files, for X-Accel-Redirect; None: this process sends them."""
    meters: Counters = field(default_factory=Counters)
    """What the engine counts, for Prometheus."""
    data: Path | None = None
    """The folder whose disk must not run full; None: there is none."""
    keys: Keys | None = None
    """The keys that open the REST API; None: it is open to everybody."""
    for_this_host: bool = False
    """Whether it asks for no key because it is on loopback; whoever calls has to name it as such."""
    session_secs: float = 43_200.0
    """How long a browser stays logged in."""
    webhooks: WebhookRules = field(default_factory=WebhookRules)
    """Where jobs may have their end told; public HTTPS with secrets of their own, unless given."""
    check_timeout_secs: float = 5.0
    """How long `/readyz` and `/v1/steps` wait: no longer than monitors do, while the broker's own timeout is 30 s."""
    idle_secs: float = 60.0
    """How long a client may send nothing of its request's body."""
    discard_bytes: int = 1024**3
    """How much of a refused request is read and dropped, so that the client reads the answer."""
    replay_secs: float = 5.0
    """How long a request waits for an equal one that is being received at the same time."""
    leaving: Event = field(default_factory=Event)
    """Set once the server was told to end: what is sent until a job ends, ends then."""

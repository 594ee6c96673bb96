"""Services: what the REST API works with, put together by `build_coordinator`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from threading import Event

from penstock.common.broker.base import Broker
from penstock.common.input_root import InputRoot
from penstock.common.model.rest import MapTiles
from penstock.common.settings import Limits
from penstock.common.store.base import Store
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.coordinator.auth.keys import Keys
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.job_ends import JobEnds
from penstock.coordinator.ports.repository import Repository
from penstock.coordinator.ports.reserve import Reserve
from penstock.coordinator.ports.scheduler import Scheduler
from penstock.coordinator.scheduling.replicas import Replicas
from penstock.coordinator.webhooks.rules import WebhookRules


@dataclass(frozen=True)
class Services:
    """The adapters and limits of one coordinator."""

    repository: Repository
    store: Store
    broker: Broker
    scheduler: Scheduler
    limits: Limits
    input_root: InputRoot | None
    """The folder below which jobs may name inputs; None: nowhere."""
    buckets: BucketAllowlist = field(default_factory=BucketAllowlist)
    """The buckets that jobs may name."""
    webhooks: WebhookRules = field(default_factory=WebhookRules)
    """Which webhooks jobs may name."""
    keys: Keys | None = None
    """The API keys; None: no key is needed."""
    loopback_only: bool = False
    """Whether requests must name a loopback host: no key is needed because the server listens on loopback."""
    session_secs: float = 43_200.0
    """How long a browser stays logged in."""
    find_replicas: Callable[[str], Replicas | None] = lambda _: None
    """Finds a step's replicas; None if they are unknown."""
    advice_secs: float = 300.0
    """Within which time the backlog should be done, for advice on replicas."""
    can_add_workers: bool = True
    """Whether workers can be added while the coordinator runs."""
    accel_prefix: str | None = None
    """The nginx location of the store's files, for X-Accel-Redirect; None: this process sends them."""
    prefix: str = ""
    """The path below which a proxy shows the server, without a slash at its end."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """The proxies that may name another one (`X-Forwarded-Prefix`)."""
    map_tiles: MapTiles | None = None
    """The map that the web page shows below places; None: it loads nothing from other servers."""
    counters: Counters = field(default_factory=Counters)
    """Counters of the scheduler, for Prometheus."""
    job_ends: JobEnds = field(default_factory=JobEnds)
    """Where the scheduler announces which jobs have ended."""
    data: Path | None = None
    """The data folder, whose disk is measured; None: there is none."""
    reserve_bytes: int = 0
    """Free bytes to keep on the data folder's disk."""
    check_timeout_secs: float = 5.0
    """How long `/readyz` and `/v1/steps` wait: monitors wait no longer, although the broker's own timeout is 30 s."""
    idle_secs: float = 60.0
    """How long a client may send nothing of its request's body."""
    discard_bytes: int = 1024**3
    """How much of a refused request is read and dropped, so that the client reads the response."""
    replay_secs: float = 5.0
    """How long a request waits for an equal one that is being received at the same time."""
    stopping: Event = field(default_factory=Event)
    """Set once the server shuts down; ends the event streams."""

    @property
    def reserve(self) -> Reserve:
        """What new work must leave free."""
        return Reserve(self.store, self.data, self.reserve_bytes)

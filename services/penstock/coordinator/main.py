"""Coordinator process: builds a coordinator from its settings, for `penstock coordinator` and `penstock serve`."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from penstock.common.broker.base import Broker
from penstock.common.environment import warn_of_misspelt_variables
from penstock.common.input_root import DATABASE, input_root
from penstock.common.logs import set_up_logs
from penstock.common.metrics import CallCounters
from penstock.common.model.rest import MapTiles
from penstock.common.registry import declare_steps, disable_steps, log_broken_steps
from penstock.common.settings import (
    BrokerSettings,
    CoordinatorSettings,
    KubernetesSettings,
    Limits,
    SettingsError,
    StoreSettings,
    WorkerSettings,
)
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.composite import CompositeStore
from penstock.common.store.factory import open_store, store_folder
from penstock.common.tracing.base import open_tracing
from penstock.common.wording.urls import show_url
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.keys import read_keys
from penstock.coordinator.autoscaler import Autoscaler, DeploymentScale
from penstock.coordinator.connections.limits import ConnectionLimits, limit_connections
from penstock.coordinator.data_folder import lock_data_folder
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.job_ends import JobEnds
from penstock.coordinator.ports.leadership import AlwaysLeader, Leadership
from penstock.coordinator.ports.links import prefix_of
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.leader import LeaderLoop
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.replicas import Deployments, Replicas, ReplicaWatch
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.coordinator.server import bind_port, run_server
from penstock.coordinator.webhooks.rules import WebhookRules
from penstock.coordinator.webhooks.sender import Sender

_POLL_SECS = 0.5
"""Jobs that another coordinator accepted are found by polling, should its call of the leader be lost."""


@dataclass(frozen=True)
class Coordinator:
    """A coordinator that is ready to serve."""

    scheduler: JobScheduler
    services: Services
    leader_loop: LeaderLoop
    listener: socket.socket
    connections: ConnectionLimits
    details: str
    """What it serves, with which store, database and broker."""

    def serve(self) -> None:
        """Campaign for leadership and serve the REST API until SIGINT or SIGTERM."""
        self.leader_loop.start()
        run_server(self.services, self.listener, self.connections, self.details)


def run_coordinator(
    settings: CoordinatorSettings,
    broker_settings: BrokerSettings,
    store_settings: StoreSettings,
    limits: Limits,
    worker_settings: WorkerSettings,
    kubernetes: KubernetesSettings,
    details: str = "",
) -> int:
    """Run a coordinator over RabbitMQ until SIGINT or SIGTERM; return the exit status.

    Raises:
        SettingsError: no broker is named; see also `build_coordinator`.
        StartupError, UnavailableError: see `build_coordinator`.
    """
    url = broker_settings.broker_url
    if url is None:
        raise SettingsError(
            "invalid_settings", "no broker; give --broker or PENSTOCK_BROKER_URL: amqp://user:password@host"
        )
    from penstock.common.broker.rabbitmq.broker import RabbitBroker

    set_up_logs("coordinator")
    warn_of_misspelt_variables()
    declare_steps(worker_settings.declared_steps)
    disable_steps(settings.disabled_steps.split(","))
    log_broken_steps()
    with build_coordinator(
        settings,
        store_settings,
        limits,
        worker_settings,
        open_broker=lambda calls: RabbitBroker(url, broker_settings, calls),
        dispatch=DispatchSettings(poll_secs=_POLL_SECS),
        details=details or f"the REST API, broker {show_url(url)}",
        kubernetes=kubernetes,
    ) as coordinator:
        coordinator.serve()
    return 0


@contextmanager
def build_coordinator(
    settings: CoordinatorSettings,
    store_settings: StoreSettings,
    limits: Limits,
    worker_settings: WorkerSettings,
    *,
    open_broker: Callable[[CallCounters], Broker],
    dispatch: DispatchSettings,
    details: str,
    kubernetes: KubernetesSettings | None = None,
    can_add_workers: bool = True,
) -> Iterator[Coordinator]:
    """Take port and data folder, connect database, store and broker, and close all of it at the end.

    `open_broker` opens a broker whose calls are counted. `details` say what is served, and by which broker. `settings`
    complete `dispatch`. `can_add_workers` says whether workers can be added while the coordinator runs.

    Raises:
        StartupError: the port or the data folder can't be used, or is in use.
        SettingsError: there is no API key although the address is not loopback, a webhook setting is wrong, the folder
            for inputs is the data folder, or there are not enough descriptors for the connections.
        UnavailableError: the database or the store is unreachable.
    """
    with ExitStack() as stack:
        connections = limit_connections(settings.max_connections)
        listener = stack.enter_context(bind_port(settings.host, settings.port))
        keys = read_keys(settings, listener.getsockname()[0])
        webhooks = WebhookRules.from_settings(settings)
        inputs = input_root(
            settings.input_root,
            data=settings.data,
            store=store_folder(store_settings, settings.data),
            keys=settings.api_keys_file,
        )
        repository, leadership = _open_database(settings, store_settings, stack)
        buckets = BucketAllowlist.from_settings(store_settings)
        counters, job_ends, tracing = Counters(), JobEnds(), open_tracing("coordinator")
        stack.callback(tracing.close)
        store = CompositeStore(open_store(store_settings, settings.data), buckets, counters.own_calls)
        broker = open_broker(counters.own_calls)
        stack.callback(broker.close)
        is_replicated = settings.database_url is not None
        find_replicas = _watch_replicas(kubernetes, stack)
        scheduler = JobScheduler(
            repository,
            store,
            broker,
            replace(
                dispatch,
                window_images=settings.window_images,
                max_chunk=settings.max_chunk,
                weights=keys.weights if keys else {},
            ),
            ReconcilerSettings(
                repair_secs=settings.repair_secs,
                step_timeout_secs=worker_settings.wall_limit_secs,
                max_chunk=settings.max_chunk,
                sweep_secs=settings.sweep_secs,
                abandoned_secs=settings.abandoned_secs,
                publishes_status=is_replicated,
            ),
            counters=counters,
            job_ends=job_ends,
            tracing=tracing,
            webhook_sender=Sender.from_settings(repository, settings),
            find_replicas=find_replicas,
            prices=settings.worker_prices,
        )
        services = Services(
            repository=repository,
            store=store,
            broker=broker,
            scheduler=scheduler,
            limits=limits,
            input_root=inputs,
            buckets=buckets,
            accel_prefix=settings.accel_prefix,
            prefix=prefix_of(settings.public_url),
            trusted_proxies=settings.proxy_networks,
            find_replicas=find_replicas,
            advice_secs=settings.advice_secs,
            can_add_workers=can_add_workers,
            counters=counters,
            job_ends=job_ends,
            data=None if is_replicated else settings.data,
            reserve_bytes=store_settings.reserve_bytes,
            keys=keys,
            loopback_only=keys is None and not settings.open,
            session_secs=settings.session_secs,
            webhooks=webhooks,
            map_tiles=MapTiles(url=settings.map_tiles, credit=settings.map_credit) if settings.map_tiles else None,
        )
        leader_loop = LeaderLoop(scheduler, leadership)
        stack.callback(leader_loop.stop)
        _start_autoscaler(kubernetes, scheduler, counters, stack)
        where = f"store {_show_store(settings, store_settings)}, database {_show_database(settings)}"
        yield Coordinator(scheduler, services, leader_loop, listener, connections, f"{details}, {where}")


def _show_store(settings: CoordinatorSettings, store_settings: StoreSettings) -> str:
    return show_url(store_settings.store_url) if store_settings.store_url else str(settings.data / "store")


def _show_database(settings: CoordinatorSettings) -> str:
    return show_url(settings.database_url) if settings.database_url else str(settings.data / DATABASE)


def _watch_replicas(settings: KubernetesSettings | None, stack: ExitStack) -> Callable[[str], Replicas | None]:
    """Watch the steps' Deployments if there is a Kubernetes; return a function that finds a step's replicas."""
    if settings is None or settings.kubernetes_selector is None:
        return lambda _: None
    watch = ReplicaWatch(Deployments(settings, settings.kubernetes_selector).read_replicas)
    watch.start()
    stack.callback(watch.stop)
    return watch.find


def _start_autoscaler(
    settings: KubernetesSettings | None, scheduler: JobScheduler, counters: Counters, stack: ExitStack
) -> None:
    if settings is not None and settings.autoscale:
        scale = DeploymentScale(settings)
        autoscaler = Autoscaler(settings.autoscale, scheduler.backlog, scale, leads=lambda: counters.is_leader)
        autoscaler.start()
        stack.callback(autoscaler.stop)


def _open_database(
    settings: CoordinatorSettings, store_settings: StoreSettings, stack: ExitStack
) -> tuple[SqlRepository, Leadership]:
    """Open PostgreSQL, which several coordinators share, or SQLite, which one coordinator has locked."""
    leadership: Leadership = AlwaysLeader()
    if settings.database_url is not None:
        from penstock.coordinator.database.backends.advisory_lock import PostgresLeadership

        repository = SqlRepository(settings.database_url)
        leadership = PostgresLeadership(settings.database_url)
    else:
        # Others pass through the folder to a store that is named, or that a web server in front reads.
        shared = store_settings.store_url is not None or settings.accel_prefix is not None
        stack.enter_context(lock_data_folder(settings.data, shared=shared))
        repository = SqlRepository.sqlite(settings.data / DATABASE, fsync=store_settings.fsync)
        repository.discard_receiving()
    stack.callback(repository.close)
    return repository, leadership

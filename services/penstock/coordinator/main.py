"""`penstock coordinator`: REST, dispatch and tracking, over RabbitMQ and a store that all hosts reach.

A composition root.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.logs import set_up_logs
from penstock.common.registry import declare_steps
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
from penstock.common.store.factory import open_store
from penstock.common.tracing.factory import open_tracing
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.keys import read_keys
from penstock.coordinator.database.backends.advisory_lock import PostgresLeadership
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.leadership import AlwaysLeader, Leadership
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.kubernetes import Deployments
from penstock.coordinator.scheduling.leader import LeaderLoop
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.replicas import Replicas, ReplicaWatch
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.coordinator.server import answer
from penstock.coordinator.startup_locks import listening, locked
from penstock.coordinator.webhooks.rules import WebhookRules
from penstock.coordinator.webhooks.sender import Sender

_POLL_SECS = 0.5


def coordinate(
    settings: CoordinatorSettings,
    broker_settings: BrokerSettings,
    store_settings: StoreSettings,
    limits: Limits,
    worker_settings: WorkerSettings,
    kubernetes: KubernetesSettings,
) -> int:
    """Coordinate until SIGINT or SIGTERM; returns the exit status.

    Raises:
        RequestError: the port or the data folder is in use, or cannot be used.
        SettingsError: no broker is named, no API key for an address that others reach, or a webhook setting is wrong.
        UnavailableError: the database or the store is away.
    """
    if broker_settings.broker_url is None:
        raise SettingsError("invalid_settings", "no broker is named; give --broker amqp://… or PENSTOCK_BROKER_URL")
    set_up_logs("coordinator")
    declare_steps(worker_settings.step_schemas)
    with ExitStack() as stack:
        listener = stack.enter_context(listening(settings.host, settings.port))
        keys = read_keys(settings, listener.getsockname()[0])
        webhooks = WebhookRules.from_settings(settings)
        repository, leadership = _database(settings, stack)
        sources = BucketAllowlist.of(store_settings)
        meters, tracing = Counters(), open_tracing("coordinator")
        stack.callback(tracing.close)
        store = CompositeStore(open_store(store_settings, settings.data), sources, meters.tally)
        broker = RabbitBroker(broker_settings.broker_url, broker_settings, meters.tally)
        stack.callback(broker.close)
        several = settings.database_url is not None
        conductor = JobScheduler(
            repository,
            store,
            broker,
            DispatchSettings(
                window_images=settings.window_images,
                max_chunk=settings.max_chunk,
                poll_secs=_POLL_SECS,
                weights=keys.weights if keys else {},
            ),
            ReconcilerSettings.of(settings, worker_settings, tells=several),
            meters=meters,
            tracing=tracing,
            courier=Sender.from_settings(repository, settings),
        )
        leading = LeaderLoop(conductor, leadership)
        leading.start()
        stack.callback(leading.stop)
        answer(
            Services(
                repository=repository,
                store=store,
                broker=broker,
                engine=conductor,
                limits=limits,
                input_root=settings.input_root,
                sources=sources,
                accel_prefix=settings.accel_prefix,
                find_replicas=_watch_replicas(kubernetes, stack),
                advice_secs=settings.advice_secs,
                meters=meters,
                data=None if several else settings.data,
                keys=keys,
                for_this_host=keys is None and not settings.open,
                session_secs=settings.session_secs,
                webhooks=webhooks,
            ),
            listener,
        )
    return 0


def _watch_replicas(settings: KubernetesSettings, stack: ExitStack) -> Callable[[str], Replicas | None]:
    """Begin to look at the steps' Deployments, where there is a Kubernetes; return what tells a step's replicas."""
    if settings.kubernetes_selector is None:
        return lambda _: None
    watch = ReplicaWatch(Deployments(settings, settings.kubernetes_selector).look)
    watch.start()
    stack.callback(watch.stop)
    return watch.find


def _database(settings: CoordinatorSettings, stack: ExitStack) -> tuple[SqlRepository, Leadership]:
    """Open PostgreSQL, which several coordinators share, or SQLite, which is one coordinator's alone."""
    leadership: Leadership
    if settings.database_url is not None:
        repository = SqlRepository(settings.database_url)
        leadership = PostgresLeadership(settings.database_url)
    else:
        stack.enter_context(locked(settings.data))
        repository = SqlRepository.sqlite(settings.data / "penstock.sqlite")
        repository.discard_receiving()
        leadership = AlwaysLeader()
    stack.callback(repository.close)
    return repository, leadership

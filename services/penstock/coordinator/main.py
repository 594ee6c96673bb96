"""`penstock coordinator`: REST, dispatch and tracking, over RabbitMQ and a store that all hosts reach.

A composition root.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.logs import set_up_logs
from penstock.common.metrics import measure
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
from penstock.common.store.opening import open_store
from penstock.common.store.routed import RoutedStore
from penstock.common.store.sources import SourceBuckets
from penstock.common.tracing import open_tracing
from penstock.coordinator.claims import listening, locked
from penstock.coordinator.conductor import Conductor
from penstock.coordinator.database.advisory import PostgresLeadership
from penstock.coordinator.database.sql import SqlRepository
from penstock.coordinator.dispatcher import DispatchSettings
from penstock.coordinator.housekeeper import HousekeepingSettings
from penstock.coordinator.keys import read_keys
from penstock.coordinator.kubernetes import Deployments
from penstock.coordinator.leadership import AlwaysLeader, Leadership
from penstock.coordinator.leading import Leading
from penstock.coordinator.meters import Meters
from penstock.coordinator.replicas import Replicas, ReplicaWatch
from penstock.coordinator.server import answer
from penstock.coordinator.services import Services
from penstock.coordinator.webhooks import Courier, WebhookRules

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
        webhooks = WebhookRules.of(settings)
        repository, leadership = _database(settings, stack)
        sources = SourceBuckets.of(store_settings)
        meters, tracing = Meters(), open_tracing("coordinator")
        stack.callback(tracing.close)
        store = measure(RoutedStore(open_store(store_settings, settings.data), sources), "store", meters.tally)
        broker = measure(RabbitBroker(broker_settings.broker_url, broker_settings), "broker", meters.tally)
        stack.callback(broker.close)
        several = settings.database_url is not None
        conductor = Conductor(
            repository,
            store,
            broker,
            DispatchSettings(
                window_images=settings.window_images,
                max_chunk=settings.max_chunk,
                poll_secs=_POLL_SECS,
                weights=keys.weights if keys else {},
            ),
            HousekeepingSettings.of(settings, worker_settings, tells=several),
            meters=meters,
            tracing=tracing,
            courier=Courier.of(repository, settings),
        )
        leading = Leading(conductor, leadership)
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

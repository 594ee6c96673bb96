"""`penstock serve`: coordinator and workers on one host, over a broker in memory, SQLite and a folder.

A composition root. With a RabbitMQ it is `penstock coordinator` and `penstock worker` in one command.
"""

from __future__ import annotations

from penstock.common.broker.memory import MemoryBroker
from penstock.common.logs import set_up_logs
from penstock.common.registry import declare_steps, declared_steps
from penstock.common.settings import (
    BrokerSettings,
    KubernetesSettings,
    Limits,
    ServeSettings,
    SettingsError,
    StoreSettings,
    WorkerSettings,
)
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.composite import CompositeStore
from penstock.common.store.local import LocalStore
from penstock.common.tracing.factory import open_tracing
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.keys import read_keys
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.coordinator.scheduling.reconciler import ReconcilerSettings
from penstock.coordinator.scheduling.scheduler import JobScheduler
from penstock.coordinator.server import answer
from penstock.coordinator.startup_locks import listening, locked
from penstock.coordinator.webhooks.rules import WebhookRules
from penstock.coordinator.webhooks.sender import Sender
from penstock.local.run import default_workers
from penstock.worker.process.forkserver import start_forker
from penstock.worker.process.pipe_supervisor import PipeSupervisor
from penstock.worker.process.pipe_worker import WorkerSpec
from penstock.worker.served_steps import performable_steps


def serve(
    settings: ServeSettings,
    limits: Limits,
    worker_settings: WorkerSettings,
    broker_settings: BrokerSettings,
    store_settings: StoreSettings,
) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status.

    Raises:
        RequestError: the port or the data folder is in use, or cannot be used.
        SettingsError: a store or database is named without a broker, a step is declared that nobody performs, or there
            is no API key for an address that others reach.
    """
    declare_steps(worker_settings.step_schemas)
    if broker_settings.broker_url is not None:
        return _serve_over_broker(settings, limits, worker_settings, broker_settings, store_settings)
    _refuse_what_has_no_use(settings, worker_settings, store_settings)
    start_forker()
    set_up_logs("penstock")
    with listening(settings.host, settings.port) as listener, locked(settings.data):
        keys = read_keys(settings, listener.getsockname()[0])
        webhooks = WebhookRules.from_settings(settings)
        folder = LocalStore(settings.data / "store")
        folder.sweep()
        sources = BucketAllowlist.of(store_settings)
        meters, tracing = Counters(), open_tracing("coordinator")
        store = CompositeStore(folder, sources, meters.tally)
        queues = MemoryBroker()
        broker = queues.counted_by(meters.tally)
        workers = settings.workers or default_workers()
        specs = _specs(settings, workers, limits, worker_settings, store_settings)
        dispatch = DispatchSettings(
            workers, len(specs), settings.window_images, settings.max_chunk, weights=keys.weights if keys else {}
        )
        repository = SqlRepository.sqlite(settings.data / "penstock.sqlite")
        housekeeping = ReconcilerSettings.of(settings, worker_settings)
        courier = Sender.from_settings(repository, settings)
        conductor = JobScheduler(
            repository, store, broker, dispatch, housekeeping, meters=meters, tracing=tracing, courier=courier
        )
        conductor.recover()
        supervisor = PipeSupervisor(queues, specs)
        supervisor.start()
        conductor.begin()
        try:
            services = Services(
                repository=repository,
                store=store,
                broker=broker,
                engine=conductor,
                limits=limits,
                input_root=settings.input_root,
                advice_secs=settings.advice_secs,
                can_grow=False,
                sources=sources,
                meters=meters,
                data=settings.data,
                keys=keys,
                for_this_host=keys is None and not settings.open,
                session_secs=settings.session_secs,
                webhooks=webhooks,
            )
            answer(services, listener)
        finally:
            supervisor.stop(worker_settings.drain_secs)
            conductor.end()
            tracing.close()
            broker.close()
            repository.close()
    return 0


def _refuse_what_has_no_use(
    settings: ServeSettings, worker_settings: WorkerSettings, store_settings: StoreSettings
) -> None:
    for name, value in (("store_url", store_settings.store_url), ("database_url", settings.database_url)):
        if value is not None:
            raise SettingsError(
                "invalid_settings",
                f"PENSTOCK_{name.upper()}={value}: without a broker (--broker amqp://…) it has no use",
            )
    if declared_steps() and not worker_settings.program:
        named = ", ".join(sorted(declared_steps()))
        raise SettingsError(
            "invalid_settings", f"PENSTOCK_DECLARED_STEPS: {named}: without PENSTOCK_PROGRAM nobody here performs it"
        )


def _serve_over_broker(
    settings: ServeSettings,
    limits: Limits,
    worker_settings: WorkerSettings,
    broker_settings: BrokerSettings,
    store_settings: StoreSettings,
) -> int:
    # Imported here and not above, so that who needs no RabbitMQ need not load what speaks to it.
    from penstock.coordinator.main import coordinate
    from penstock.worker.process.main import ServiceSpec, make_members
    from penstock.worker.process.supervisor import Supervisor

    if store_settings.store_url is None:
        folder = (settings.data / "store").absolute()
        store_settings = store_settings.model_copy(update={"store_url": folder.as_uri()})
    members = worker_settings.model_copy(
        update={"concurrency": settings.workers or default_workers(), "input_root": settings.input_root}
    )
    assert broker_settings.broker_url is not None
    specs = [
        ServiceSpec(frozenset(group), limits, members, broker_settings.broker_url, broker_settings, store_settings)
        for group in _groups(settings, worker_settings)
    ]
    crew = Supervisor([member for spec in specs for member in make_members(spec)], worker_settings.drain_secs)
    crew.start()
    try:
        return coordinate(
            settings,
            broker_settings,
            store_settings,
            limits,
            worker_settings,
            KubernetesSettings(kubernetes_selector=None),
        )
    finally:
        crew.stop()


def _groups(settings: ServeSettings, worker_settings: WorkerSettings) -> list[tuple[str, ...]]:
    """Return the steps that each kind of worker serves."""
    steps = performable_steps(program=bool(worker_settings.program))
    return [steps] if settings.placement == "fused" else [(step,) for step in steps]


def _specs(
    settings: ServeSettings, workers: int, limits: Limits, worker_settings: WorkerSettings, buckets: StoreSettings
) -> list[WorkerSpec]:
    return [
        WorkerSpec(
            name=f"worker-{index}" if len(group) > 1 else f"{group[0]}-{index}",
            steps=group,
            store=settings.data / "store",
            results=None,
            input_root=settings.input_root,
            limits=limits,
            settings=worker_settings,
            buckets=buckets,
        )
        for group in _groups(settings, worker_settings)
        for index in range(workers)
    ]

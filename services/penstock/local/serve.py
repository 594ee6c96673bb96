"""`penstock serve`: coordinator, memory broker and workers on one host, SQLite and a folder. A composition root."""

from __future__ import annotations

from penstock.common.broker.memory import MemoryBroker
from penstock.common.logs import set_up_logs
from penstock.common.registry import operations
from penstock.common.settings import Limits, ServeSettings, WorkerSettings
from penstock.common.store.local import LocalStore
from penstock.coordinator.claims import listening, locked
from penstock.coordinator.conductor import Conductor
from penstock.coordinator.database.sql import SqlRepository
from penstock.coordinator.dispatcher import DispatchSettings
from penstock.coordinator.housekeeper import HousekeepingSettings
from penstock.coordinator.server import answer
from penstock.coordinator.services import Services
from penstock.local.forker import start_forker
from penstock.local.run import default_workers
from penstock.local.supervisor import Supervisor
from penstock.worker.process import WorkerSpec


def serve(settings: ServeSettings, limits: Limits, worker_settings: WorkerSettings) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status.

    Raises:
        RequestError: the port or the data folder is in use, or cannot be used.
    """
    start_forker()
    set_up_logs("penstock")
    with listening(settings.host, settings.port) as listener, locked(settings.data):
        store = LocalStore(settings.data / "store")
        store.sweep()
        broker = MemoryBroker()
        workers = settings.workers or default_workers()
        specs = _specs(settings, workers, limits, worker_settings)
        dispatch = DispatchSettings(workers, len(specs), settings.window_chunks, settings.max_chunk)
        repository = SqlRepository.sqlite(settings.data / "penstock.sqlite")
        housekeeping = HousekeepingSettings.of(settings, worker_settings)
        conductor = Conductor(repository, store, broker, dispatch, housekeeping)
        conductor.recover()
        supervisor = Supervisor(broker, specs)
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
            )
            answer(services, listener)
        finally:
            supervisor.stop(worker_settings.drain_secs)
            conductor.end()
            broker.close()
            repository.close()
    return 0


def _specs(settings: ServeSettings, workers: int, limits: Limits, worker_settings: WorkerSettings) -> list[WorkerSpec]:
    steps = tuple(operations())
    groups = [steps] if settings.placement == "fused" else [(step,) for step in steps]
    return [
        WorkerSpec(
            name=f"worker-{index}" if len(group) > 1 else f"{group[0]}-{index}",
            steps=group,
            store=settings.data / "store",
            results=None,
            input_root=settings.input_root,
            limits=limits,
            settings=worker_settings,
        )
        for group in groups
        for index in range(workers)
    ]

"""`penstock serve`: a coordinator and its workers on one host, with queues in memory or over RabbitMQ."""

from functools import partial
from itertools import chain

from penstock.common.broker.memory import MemoryBroker
from penstock.common.environment import warn_of_misspelt_variables
from penstock.common.input_root import input_root
from penstock.common.logs import set_up_logs
from penstock.common.registry import declare_steps, declared_steps, disable_steps, disabled_steps, log_broken_steps
from penstock.common.settings import (
    BrokerSettings,
    KubernetesSettings,
    Limits,
    ServeSettings,
    SettingsError,
    StoreSettings,
    WorkerSettings,
)
from penstock.common.store.local import LocalStore
from penstock.common.wording.urls import show_url
from penstock.coordinator.auth.first_key import with_first_key
from penstock.coordinator.main import build_coordinator, run_coordinator
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.local.run import default_workers
from penstock.worker.process.pipe_worker import PipeWorkerSpec
from penstock.worker.process.served_steps import available_steps
from penstock.worker.process.supervisor import Supervisor, start_forkserver


def serve(
    settings: ServeSettings,
    limits: Limits,
    worker_settings: WorkerSettings,
    broker_settings: BrokerSettings,
    store_settings: StoreSettings,
) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status.

    Raises:
        StartupError: the port or the data folder can't be used, or is in use.
        SettingsError: a store or database is named without a broker, a declared step has no program, or there is no API
            key although the address is not loopback.
    """
    set_up_logs("penstock")
    settings = with_first_key(settings, partial(print, flush=True))  # not to the log, which may leave it out
    declare_steps(worker_settings.declared_steps)
    disable_steps(settings.disabled_steps.split(","))
    if broker_settings.broker_url is not None:
        return _serve_over_rabbitmq(settings, limits, worker_settings, broker_settings, store_settings)
    _refuse_unused_settings(settings, worker_settings, store_settings)
    log_broken_steps()
    start_forkserver()
    warn_of_misspelt_variables()
    queues = MemoryBroker()
    store = settings.data / "store"
    inputs = input_root(settings.input_root, data=settings.data, store=store, keys=settings.api_keys_file)
    workers = settings.workers or default_workers()
    specs = [
        PipeWorkerSpec(
            name=f"worker-{index}" if len(group) > 1 else f"{group[0]}-{index}",
            steps=group,
            store=settings.data / "store",
            input_root=inputs,
            limits=limits,
            settings=worker_settings,
            buckets=store_settings,
        )
        for group in _step_groups(settings, worker_settings)
        for index in range(workers)
    ]
    with build_coordinator(
        settings,
        store_settings,
        limits,
        worker_settings,
        open_broker=queues.counted_by,
        dispatch=DispatchSettings(workers, len(specs)),
        details=f"{_list_steps(settings, worker_settings)}; {len(specs)} workers, queues in memory",
        can_add_workers=False,
    ) as coordinator:
        LocalStore(settings.data / "store").remove_temporary_files()
        coordinator.scheduler.recover()
        supervisor = Supervisor([spec.process(queues) for spec in specs])
        supervisor.start()
        try:
            coordinator.serve()
        finally:
            supervisor.stop(worker_settings.drain_secs)
    return 0


def _refuse_unused_settings(
    settings: ServeSettings, worker_settings: WorkerSettings, store_settings: StoreSettings
) -> None:
    for name, value in (("store_url", store_settings.store_url), ("database_url", settings.database_url)):
        if value is not None:
            raise SettingsError(
                "invalid_settings",
                f"PENSTOCK_{name.upper()}={value}: needs a broker; give --broker amqp://… as well",
            )
    if declared_steps() and not worker_settings.program:
        named = ", ".join(sorted(declared_steps()))
        raise SettingsError(
            "invalid_settings", f"PENSTOCK_DECLARED_STEPS: {named}: no worker here can run it; set PENSTOCK_PROGRAM"
        )


def _serve_over_rabbitmq(
    settings: ServeSettings,
    limits: Limits,
    worker_settings: WorkerSettings,
    broker_settings: BrokerSettings,
    store_settings: StoreSettings,
) -> int:
    # Imported here, because it loads RabbitMQ's client.
    from penstock.worker.process.main import ServiceSpec, make_processes

    if store_settings.store_url is None:
        folder = (settings.data / "store").absolute()
        store_settings = store_settings.model_copy(update={"store_url": folder.as_uri()})
    process_settings = worker_settings.model_copy(
        update={"concurrency": settings.workers or default_workers(), "input_root": settings.input_root}
    )
    assert broker_settings.broker_url is not None
    specs = [
        ServiceSpec(
            frozenset(group),
            limits,
            process_settings,
            broker_settings.broker_url,
            broker_settings,
            store_settings,
            settings.data,
        )
        for group in _step_groups(settings, worker_settings)
    ]
    supervisor = Supervisor([process for spec in specs for process in make_processes(spec)])
    supervisor.start()
    try:
        return run_coordinator(
            settings,
            broker_settings,
            store_settings,
            limits,
            worker_settings,
            KubernetesSettings(kubernetes_selector=None),
            f"{_list_steps(settings, worker_settings)}; broker {show_url(broker_settings.broker_url)}",
        )
    finally:
        supervisor.stop(worker_settings.drain_secs)


def _list_steps(settings: ServeSettings, worker_settings: WorkerSettings) -> str:
    return ", ".join(chain.from_iterable(_step_groups(settings, worker_settings)))


def _step_groups(settings: ServeSettings, worker_settings: WorkerSettings) -> list[tuple[str, ...]]:
    """Return the steps of each group of workers."""
    available = available_steps(program=bool(worker_settings.program))
    steps = tuple(step for step in available if step not in disabled_steps())
    return [steps] if settings.placement == "fused" else [(step,) for step in steps]

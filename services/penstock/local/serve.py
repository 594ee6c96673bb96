"""`penstock serve`: coordinator, memory broker and workers on one host, SQLite and a folder. A composition root."""

from __future__ import annotations

import fcntl
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from penstock.common.broker.memory import MemoryBroker
from penstock.common.errors import RequestError
from penstock.common.logs import set_up_logs
from penstock.common.registry import operations
from penstock.common.settings import Limits, ServeSettings, WorkerSettings
from penstock.common.store.local import LocalStore
from penstock.coordinator.app import create_app
from penstock.coordinator.conductor import Conductor
from penstock.coordinator.database.sql import SqlRepository
from penstock.coordinator.dispatcher import DispatchSettings
from penstock.coordinator.services import Services
from penstock.local.forker import start_forker
from penstock.local.run import default_workers
from penstock.local.supervisor import Supervisor
from penstock.worker.process import WorkerSpec

log = logging.getLogger(__name__)

_SHUTDOWN_SECS = 5
_SWITCH_SECS = 0.001
"""How soon a thread that computes lets another one go on: a request shares this process with the tracker."""


def serve(settings: ServeSettings, limits: Limits, worker_settings: WorkerSettings) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status.

    Raises:
        RequestError: the port or the data folder is in use, or cannot be used.
    """
    start_forker()
    sys.setswitchinterval(_SWITCH_SECS)
    set_up_logs("penstock")
    with _listening(settings.host, settings.port) as listener, _locked(settings.data):
        store = LocalStore(settings.data / "store")
        store.sweep()
        broker = MemoryBroker()
        workers = settings.workers or default_workers()
        specs = _specs(settings, workers, limits, worker_settings)
        dispatch = DispatchSettings(workers, len(specs), settings.window_chunks, settings.max_chunk)
        repository = SqlRepository.sqlite(settings.data / "penstock.sqlite")
        conductor = Conductor(repository, store, broker, dispatch)
        conductor.recover()
        supervisor = Supervisor(broker, specs)
        supervisor.start()
        conductor.start()
        try:
            services = Services(
                repository=repository,
                store=store,
                broker=broker,
                engine=conductor,
                limits=limits,
                input_root=settings.input_root,
            )
            app = create_app(services)
            gc.collect()
            gc.freeze()  # what is there to stay is not looked through again while requests wait
            _run(app, listener)
        finally:
            supervisor.stop(worker_settings.drain_secs)
            conductor.stop()
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


def _run(app: object, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"Penstock serves on http://{shown}:{port} (Ctrl-C ends it)\n")
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECS,
        server_header=False,
    )
    # After it has shut down, uvicorn raises the signal that told it to once more: it must not end the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        log.info("interrupted; leaving")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything else is touched."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise RequestError(
                409, "port_in_use", f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
            ) from error
        yield listener
    finally:
        listener.close()


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Keep a second server out of the data folder: it would undo what the first one has under way."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = open(data / "lock", "w", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise RequestError(
            409, "data_unusable", f"cannot use {data}: {error.strerror}; choose another --data"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError(
                409, "data_in_use", f"{data} is in use by another penstock serve; choose another --data"
            ) from error
        yield

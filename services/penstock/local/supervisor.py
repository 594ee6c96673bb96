"""Keeps worker processes running on this host: starts them, answers their pipes, and replaces those that die."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

from penstock.common.broker.memory import MemoryBroker
from penstock.common.broker.pipe import serve_pipe
from penstock.worker.process import WorkerSpec, run_worker_process

log = logging.getLogger(__name__)

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["penstock.worker.preload"])
"""Workers are forked from a process that has nothing but the steps loaded, and no threads: a worker that died is
replaced in milliseconds, and the libraries are read, and lie in memory, once."""
_MIN_LIFE_SECS = 1.0
_MAX_PAUSE_SECS = 5.0


class Supervisor:
    """One thread a worker: it starts the process, serves its pipe, and starts the next one when it has died."""

    def __init__(self, broker: MemoryBroker, specs: Sequence[WorkerSpec]) -> None:
        self._broker = broker
        self._stopping = threading.Event()
        self._processes: dict[str, BaseProcess] = {}
        self._threads = [
            threading.Thread(target=self._keep, args=(spec,), name=spec.name, daemon=True) for spec in specs
        ]

    def start(self) -> None:
        """Start all workers; returns at once."""
        for thread in self._threads:
            thread.start()

    def processes(self) -> list[BaseProcess]:
        """Return the processes that run now."""
        return [process for process in list(self._processes.values()) if process.is_alive()]

    def stop(self, timeout_secs: float) -> None:
        """Let workers finish the image at hand; those that take longer than `timeout_secs` are killed."""
        self._stopping.set()
        deadline = time.monotonic() + timeout_secs
        for process in self.processes():
            process.terminate()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for process in self.processes():
            process.kill()
        for thread in self._threads:
            thread.join()

    def _keep(self, spec: WorkerSpec) -> None:
        pause_secs = 0.0
        while not self._stopping.wait(pause_secs):
            began = time.monotonic()
            self._run_once(spec)
            early = time.monotonic() - began < _MIN_LIFE_SECS
            pause_secs = min(_MAX_PAUSE_SECS, max(0.1, 2 * pause_secs)) if early else 0.0

    def _run_once(self, spec: WorkerSpec) -> None:
        here, there = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=run_worker_process, args=(there, spec), name=spec.name, daemon=True)
        process.start()
        there.close()
        self._processes[spec.name] = process
        if self._stopping.is_set():
            process.terminate()
        serve_pipe(self._broker, here)
        process.join()
        if process.exitcode and not self._stopping.is_set():
            log.warning("%s ended with status %s; starting another", spec.name, process.exitcode)

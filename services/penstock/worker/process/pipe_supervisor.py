"""Keeps worker processes running on this host: starts them, answers their pipes, and replaces those that die."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

from penstock.common.backoff import Backoff
from penstock.common.broker.memory import MemoryBroker
from penstock.common.broker.pipe import serve_pipe
from penstock.common.threads import join_all
from penstock.worker.process.forkserver import CONTEXT
from penstock.worker.process.pipe_worker import WorkerSpec, run_worker_process

log = logging.getLogger(__name__)

_MIN_LIFE_SECS = 1.0
_FIRST_PAUSE_SECS = 0.1
_MAX_PAUSE_SECS = 5.0
_KILL_SECS = 5.0
_HOPELESS_STARTS = 3


class PipeSupervisor:
    """One thread a worker: it starts the process, serves its pipe, and starts the next one when it has died."""

    def __init__(self, broker: MemoryBroker, specs: Sequence[WorkerSpec]) -> None:
        self._broker = broker
        self._stopping = threading.Event()
        self._processes: dict[str, BaseProcess] = {}
        self._failed_starts = 0
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

    @property
    def hopeless(self) -> bool:
        """Whether workers fail to start again and again, as they do where a library is missing."""
        return self._failed_starts >= _HOPELESS_STARTS

    def stop(self, timeout_secs: float) -> None:
        """Let workers finish the image at hand; those that take longer than `timeout_secs` are killed."""
        self._stopping.set()
        for process in self.processes():
            process.terminate()
        join_all(self._threads, timeout_secs)
        for process in self.processes():
            process.kill()
        join_all(self._threads, _KILL_SECS)

    def _keep(self, spec: WorkerSpec) -> None:
        # As in `start_forker`, for the forker that takes the place of one that has died.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        backoff = Backoff(_FIRST_PAUSE_SECS, _MAX_PAUSE_SECS)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once(spec)
            except Exception:
                log.exception("%s cannot be kept running; trying again", spec.name)
                self._failed_starts += 1
            if time.monotonic() - began < _MIN_LIFE_SECS:
                backoff.wait(self._stopping)
            else:
                backoff.reset()

    def _run_once(self, spec: WorkerSpec) -> None:
        here, there = CONTEXT.Pipe()
        with here, there:
            process = CONTEXT.Process(target=run_worker_process, args=(there, spec), name=spec.name, daemon=True)
            process.start()
            there.close()
            self._processes[spec.name] = process
            if self._stopping.is_set():
                process.terminate()
            try:
                worked = serve_pipe(self._broker, here)
            except Exception:
                process.kill()  # nobody answers it any more
                raise
        process.join()
        self._failed_starts = 0 if worked else self._failed_starts + 1
        if process.exitcode and not self._stopping.is_set():
            log.warning("%s ended with status %s; starting another", spec.name, process.exitcode)

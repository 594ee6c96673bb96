"""Supervisor: keeps worker processes running; starts them, replaces those that die, and passes signals on."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType

from penstock.common.backoff import Backoff

log = logging.getLogger(__name__)

CONTEXT = multiprocessing.get_context("forkserver")

EXIT_USAGE = 2
"""Exit status of a process whose settings are wrong: a new one would end the same way."""

_MIN_LIFE_SECS = 1.0
_FIRST_BACKOFF_SECS = 0.1
_MAX_BACKOFF_SECS = 5.0
_MAX_FAILED_STARTS = 3
_GRACE_SECS = 0.5
_KILL_SECS = 5.0
_POLL_SECS = 0.2


def start_forkserver(*modules: str) -> None:
    """Start the process that workers are forked from, without threads; does nothing if it runs.

    It loads the steps and `modules` in the background, once for all workers, and a replacement starts in milliseconds.
    """
    CONTEXT.set_forkserver_preload(["penstock.worker.process.preload", *modules])
    # The fork server and the workers inherit the signal mask, so Ctrl-C cannot end one before it ignores SIGINT. The
    # tracker comes first, because starting it ends with a mask that lets SIGINT through.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True)
class ProcessSpec:
    """One process: `target` is called in it with `arguments`.

    With `serve`, the first argument of `target` is one end of a pipe, and `serve` is called with the other end on a
    thread of this process: it answers until the pipe closes, and returns whether the process has consumed anything.
    """

    name: str
    target: Callable[..., None]
    arguments: tuple[object, ...]
    serve: Callable[[Connection], bool] | None = None


class Supervisor:
    """Keeps each process running, on a thread that starts it, waits for its end, and starts the next one."""

    def __init__(self, specs: Sequence[ProcessSpec]) -> None:
        self._specs = specs
        self._stopping = threading.Event()
        self._processes: dict[str, BaseProcess] = {}
        self._terminated: set[int | None] = set()
        self._failed_starts = 0
        self._status = 0
        self._threads = [
            threading.Thread(target=self._keep_running, args=(spec,), name=spec.name, daemon=True) for spec in specs
        ]

    def run(self, drain_secs: float) -> int:
        """Keep the processes running until SIGTERM or SIGINT; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self.start()
        while not self._stopping.wait(_POLL_SECS):
            pass
        self.stop(drain_secs + _GRACE_SECS)
        return self._status

    def start(self) -> None:
        """Start the processes; returns at once."""
        start_forkserver(*sorted({spec.target.__module__ for spec in self._specs}))
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_secs: float) -> None:
        """Let the processes finish their current image; those that take longer than `timeout_secs` are killed."""
        self._stopping.set()
        kill_at = time.monotonic() + timeout_secs
        while time.monotonic() < kill_at + _KILL_SECS:
            self._send(signal.SIGTERM if time.monotonic() < kill_at else signal.SIGKILL)
            if join_all(self._threads, _POLL_SECS):
                return

    def processes(self) -> list[BaseProcess]:
        """Return the processes that run now."""
        return [process for process in tuple(self._processes.values()) if process.is_alive()]

    @property
    def is_failing(self) -> bool:
        """Whether processes fail to start again and again, for instance because a library is missing."""
        return self._failed_starts >= _MAX_FAILED_STARTS

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._stopping.is_set():
            self._send(signal.SIGKILL)
            os._exit(128 + number)
        self._stopping.set()

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to every process, SIGTERM only once: a second one would mean to exit at once."""
        for process in self.processes():
            if number == signal.SIGKILL:
                process.kill()
            elif process.pid not in self._terminated:
                self._terminated.add(process.pid)
                process.terminate()

    def _keep_running(self, spec: ProcessSpec) -> None:
        # As in `start_forkserver`, for a fork server that replaces one that died.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        backoff = Backoff(_FIRST_BACKOFF_SECS, _MAX_BACKOFF_SECS)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once(spec)
            except Exception:
                log.exception("%s cannot be started; trying again", spec.name)
                self._failed_starts += 1
            if time.monotonic() - began < _MIN_LIFE_SECS:
                backoff.wait(self._stopping)
            else:
                backoff.reset()

    def _run_once(self, spec: ProcessSpec) -> None:
        if spec.serve is None:
            process = self._spawn(spec, spec.arguments)
        else:
            here, there = CONTEXT.Pipe()
            with here, there:
                process = self._spawn(spec, (there, *spec.arguments))
                there.close()
                self._serve(spec.serve, here, process)
        process.join()
        if process.exitcode == EXIT_USAGE and spec.serve is None:
            self._status = EXIT_USAGE
            self._stopping.set()
        elif not self._stopping.is_set():
            log.warning("%s ended with status %s; starting another", spec.name, process.exitcode)

    def _spawn(self, spec: ProcessSpec, arguments: tuple[object, ...]) -> BaseProcess:
        process = CONTEXT.Process(target=spec.target, args=arguments, name=spec.name, daemon=True)
        process.start()
        self._processes[spec.name] = process
        return process

    def _serve(self, serve: Callable[[Connection], bool], connection: Connection, process: BaseProcess) -> None:
        try:
            consumed = serve(connection)
        except Exception:
            process.kill()  # nothing answers it any more
            raise
        self._failed_starts = 0 if consumed else self._failed_starts + 1


def call_when_orphaned(callback: Callable[[], None]) -> None:
    """Call something, on a thread, when the parent of this process has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        callback()

    threading.Thread(target=wait, name="parent", daemon=True).start()


def join_all(threads: Sequence[threading.Thread], timeout_secs: float) -> bool:
    """Wait for all threads to end, for `timeout_secs` in all; return whether they have."""
    deadline = time.monotonic() + timeout_secs
    for thread in threads:
        if thread.ident is not None:  # an interrupt may have come before it was started
            thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)

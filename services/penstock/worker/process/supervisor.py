"""Several worker processes under one parent, which starts them, replaces those that die, and passes signals on."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from types import FrameType

from penstock.common.backoff import Backoff
from penstock.worker.process.forkserver import CONTEXT, start_forker

log = logging.getLogger(__name__)

_MIN_LIFE_SECS = 1.0
_FIRST_PAUSE_SECS = 0.1
_MAX_PAUSE_SECS = 5.0
_GRACE_SECS = 0.5
_POLL_SECS = 0.2
USED_WRONGLY = 2
"""Exit status of a process whose settings cannot be: another one would end the same way."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process of the crew: `run` is called in it with `arguments`, and exits with its status."""

    name: str
    run: Callable[..., None]
    arguments: tuple[object, ...]


class Supervisor:
    """One thread a member: it starts the process, waits for its end, and starts the next one."""

    def __init__(self, members: Sequence[ProcessSpec], drain_secs: float) -> None:
        self._members = members
        self._drain_secs = drain_secs
        self._stopping = threading.Event()
        self._processes: dict[str, BaseProcess] = {}
        self._told: set[int | None] = set()
        self._deadline = 0.0
        self._status = 0
        self._threads: list[threading.Thread] = []

    def run(self) -> int:
        """Keep the members running until SIGTERM or SIGINT; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)
        self.start()
        while not self._stopping.wait(_POLL_SECS):
            pass
        self.stop()
        return self._status

    def start(self) -> None:
        """Start the members; returns at once."""
        start_forker("penstock.worker.process.main")
        self._threads = [threading.Thread(target=self._keep, args=(member,), daemon=True) for member in self._members]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Tell the members to leave, and wait until they have; those that take too long are killed."""
        self._stop()
        while any(thread.is_alive() for thread in self._threads):
            self._tell(signal.SIGTERM if time.monotonic() < self._deadline else signal.SIGKILL)
            time.sleep(_POLL_SECS)

    def _heard(self, number: int, _: FrameType | None) -> None:
        if self._stopping.is_set():
            self._tell(signal.SIGKILL)
            os._exit(128 + number)
        self._stop()

    def _stop(self) -> None:
        if not self._stopping.is_set():
            self._deadline = time.monotonic() + self._drain_secs + _GRACE_SECS
            self._stopping.set()

    def _tell(self, number: signal.Signals) -> None:
        """Send a signal to every process, SIGTERM only once: a second one would mean to leave at once."""
        for process in tuple(self._processes.values()):
            if number == signal.SIGKILL:
                process.kill()
            elif process.pid not in self._told:
                self._told.add(process.pid)
                process.terminate()

    def _keep(self, member: ProcessSpec) -> None:
        backoff = Backoff(_FIRST_PAUSE_SECS, _MAX_PAUSE_SECS)
        while not self._stopping.is_set():
            began = time.monotonic()
            status = self._run_once(member)
            if status == USED_WRONGLY:
                self._status = status
                self._stop()
            elif not self._stopping.is_set():
                log.warning("%s ended with status %s; starting another", member.name, status)
            if time.monotonic() - began < _MIN_LIFE_SECS:
                backoff.wait(self._stopping)
            else:
                backoff.reset()

    def _run_once(self, member: ProcessSpec) -> int | None:
        process = CONTEXT.Process(target=member.run, args=member.arguments, name=member.name, daemon=True)
        process.start()
        self._processes[member.name] = process
        process.join()
        return process.exitcode


def call_when_orphaned(leave: Callable[[], None]) -> None:
    """Have something called when the parent of this process is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        leave()

    threading.Thread(target=wait, name="parent", daemon=True).start()

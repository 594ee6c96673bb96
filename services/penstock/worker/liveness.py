"""Liveness: proves that a worker is healthy by writing a file for as long as it is.

The worker's threads set deadlines by which they will be back, and a step has its time limit. The broker is asked every
few seconds. So the file becomes stale when

- a thread misses its deadline, or a step its time limit and even the watchdog cannot end the process;
- the broker is unreachable for `UNREACHABLE_SECS` (reconnecting is tried all that time, but a new process may see
  another address or password);
- for about a minute messages are ready, no step runs, and none of them is delivered here.

It stays fresh while a worker idles and while a step stays within its limit. It exists from the moment the worker
consumes until it is stopped, and says `busy` while a step runs, else `idle`. A second line says `away` while the broker
does not answer. `penstock worker --alive` looks at the file's age, `--ready` at that line as well (`process/probe.py`),
so a probe needs no port, shell or other program.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from penstock.common.model.errors import UnavailableError
from penstock.worker.process.probe import AWAY

log = logging.getLogger(__name__)

BUSY, IDLE = "busy", "idle"
"""The file's first line."""
UNREACHABLE_SECS = 300.0
MAX_STALLS = 4
_ASK_SECS = 15.0
_EXIT_SECS = 5.0


class Liveness:
    """Writes `file` on a thread of its own, at once and then every `write_secs`.

    `step_deadline` returns when the current step must have ended, by `clock`; None if none runs. `count_ready` asks the
    broker how many messages wait for this worker, and may raise UnavailableError.
    """

    def __init__(
        self,
        file: Path,
        step_deadline: Callable[[], float | None],
        count_ready: Callable[[], int],
        write_secs: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._step_deadline = step_deadline
        self._count_ready = count_ready
        self._write_secs = write_secs
        self._clock = clock
        self._deadlines: dict[str, float] = {}
        self._deliveries = 0
        self._deliveries_before = 0
        self._stopped = threading.Event()
        self._paused = False
        self._stalls = 0
        self._reached_at = clock()
        self._is_away = False
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._thread.start()

    def set_deadline(self, thread: str, secs: float) -> None:
        """Note that a thread will be back within some seconds, or within the time limit of a step if one runs."""
        self._deadlines[thread] = self._clock() + secs

    def count_delivery(self) -> None:
        """Count a message that was delivered."""
        self._deliveries += 1

    def pause(self, paused: bool) -> None:
        """Note whether the worker takes no messages on purpose."""
        self._paused = paused
        self._stalls = 0

    def stop(self) -> None:
        """Remove the file; returns at once. May be called from a signal handler."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and wait until the file is removed, though not for a broker that does not answer."""
        self.stop()
        self._thread.join(_EXIT_SECS)

    def find_problem(self) -> str | None:
        """Return what is wrong with this worker; None if it is healthy."""
        now = self._clock()
        step = self._step_deadline() or 0.0
        late = [thread for thread, deadline in tuple(self._deadlines.items()) if now > max(deadline, step)]
        if late:
            return f"{late[0]} missed its deadline"
        if now - self._reached_at > UNREACHABLE_SECS:
            return f"broker unreachable for {UNREACHABLE_SECS:g} s"
        return "messages are ready, but none is delivered" if self._stalls >= MAX_STALLS else None

    def ask_broker(self) -> None:
        """Check whether the broker is reachable, and whether it has messages that it does not deliver."""
        try:
            ready = self._count_ready()
        except UnavailableError:
            self._is_away = True
            return
        self._reached_at = self._clock()
        self._is_away = False
        taken = self._deliveries != self._deliveries_before
        stalled = ready and not taken and not self._paused and self._step_deadline() is None
        self._stalls = self._stalls + 1 if stalled else 0
        self._deliveries_before = self._deliveries

    def _run(self) -> None:
        ask_at = time.monotonic() + _ASK_SECS
        self._report(self.find_problem())
        while not self._stopped.wait(self._write_secs):
            if time.monotonic() > ask_at:
                self.ask_broker()
                ask_at = time.monotonic() + _ASK_SECS
            self._report(self.find_problem())
        remove(self._file)

    def _report(self, problem: str | None) -> None:
        if problem is None:
            state = BUSY if self._step_deadline() is not None else IDLE
            write(self._file, f"{state}\n{AWAY}" if self._is_away else state)
        elif problem != self._problem:
            log.error("worker stalled: %s", problem)
        self._problem = problem


def write(file: Path, state: str) -> None:
    """Write a worker's state, never half of it; if the disk is full or missing, the file becomes stale."""
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(state)
        new.replace(file)
    except OSError as error:
        log.warning("the liveness file cannot be written: %s", error.strerror)


def remove(file: Path) -> None:
    """Remove a file if it exists."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the liveness file cannot be removed: %s", error.strerror)

"""Proves that a worker gets on: a file is written for as long as every promise that the worker has made is kept.

Its threads promise to be back within some seconds (`promise`), and a step has its time limit. Every few seconds the
broker is asked as well. So the file goes stale when

- a thread that takes or works on chunks hangs, or a step does and even the watchdog cannot end the process;
- the broker cannot be reached for `AWAY_SECS` (the connection is made anew all that time; a new process might see
  another address or another password);
- messages are ready for a worker at whose hand no step runs and which gets none of them, for about a minute.

It stays fresh while a worker idles and while a step takes as long as it may. It is there from the moment at which the
worker consumes until it is told to leave, and says `busy` while a step runs, else `idle`. `penstock worker --alive`
tells by the file's age (`freshness.py`), so a probe needs no port, no shell and no other program.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from penstock.common.model.errors import UnavailableError

log = logging.getLogger(__name__)

BUSY, IDLE = "busy", "idle"
"""What stands in the file."""
AWAY_SECS = 300.0
MAX_STALLS = 4
_WRITE_SECS = 1.0
_ASK_SECS = 15.0
_LEAVE_SECS = 5.0


class Liveness:
    """Writes `file` from a thread of its own, at once and then every second.

    Args:
        file: what to write.
        step_deadline: tells until when (`time.monotonic`) the step at hand may take; None where none runs.
        count_ready: asks the broker how many messages wait for this worker; raises UnavailableError where it is away.
    """

    def __init__(self, file: Path, step_deadline: Callable[[], float | None], count_ready: Callable[[], int]) -> None:
        self._file = file
        self._step_deadline = step_deadline
        self._count_ready = count_ready
        self._promises: dict[str, float] = {}
        self._taken = 0
        self._taken_before = 0
        self._stopped = threading.Event()
        self._stalls = 0
        self._reached_at = time.monotonic()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._thread.start()

    def promise(self, who: str, secs: float) -> None:
        """Note that a thread will be back within some seconds, or within a step's limit while one runs."""
        self._promises[who] = time.monotonic() + secs

    def note_taken(self) -> None:
        """Count a message that has come."""
        self._taken += 1

    def leave(self) -> None:
        """Take the file away; returns at once. May be called from a signal handler."""
        self._stopped.set()

    def close(self) -> None:
        """Leave, and wait until the file is gone, though not for a broker that does not answer."""
        self.leave()
        self._thread.join(_LEAVE_SECS)

    def find_trouble(self) -> str | None:
        """Return what keeps this worker from getting on; None where nothing does."""
        now = time.monotonic()
        step = self._step_deadline()
        late = [who for who, until in tuple(self._promises.items()) if now > max(until, step or 0.0)]
        if late:
            return f"{late[0]} has not come back"
        if now - self._reached_at > AWAY_SECS:
            return f"no broker for {AWAY_SECS:g} s"
        return "messages wait, and none of them comes here" if self._stalls >= MAX_STALLS else None

    def ask_broker(self) -> None:
        """See whether the broker is there, and whether it has messages that do not come."""
        try:
            ready = self._count_ready()
        except UnavailableError:
            return
        self._reached_at = time.monotonic()
        stalled = ready and self._taken == self._taken_before and self._step_deadline() is None
        self._stalls = self._stalls + 1 if stalled else 0
        self._taken_before = self._taken

    def _run(self) -> None:
        next_question = time.monotonic() + _ASK_SECS
        self._write_or_tell(self.find_trouble())
        while not self._stopped.wait(_WRITE_SECS):
            if time.monotonic() > next_question:
                self.ask_broker()
                next_question = time.monotonic() + _ASK_SECS
            self._write_or_tell(self.find_trouble())
        remove(self._file)

    def _write_or_tell(self, trouble: str | None) -> None:
        if trouble is None:
            write(self._file, BUSY if self._step_deadline() is not None else IDLE)
        elif trouble != self._trouble:
            log.error("this worker does not get on: %s", trouble)
        self._trouble = trouble


def write(file: Path, state: str) -> None:
    """Say how a worker does; a full or missing disk lets the file grow old."""
    try:
        file.write_text(state)
    except OSError as error:
        log.warning("the liveness file cannot be written: %s", error.strerror)


def remove(file: Path) -> None:
    """Take a file away, where it is there."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the liveness file cannot be removed: %s", error.strerror)

"""Proves that a worker gets on: a file is touched for as long as every promise that the worker has made is kept.

Its threads promise to be back within some seconds (`promise`), and a step has its time limit. Every few seconds the
broker is asked as well. So the file goes stale when

- a thread that takes or works on chunks hangs, or a step does and even the watchdog cannot end the process;
- the broker cannot be reached for `AWAY_SECS` (the connection is made anew all that time; a new process might see
  another address or another password);
- messages are ready for a worker at whose hand no step runs and which gets none of them, for about a minute.

It stays fresh while a worker idles and while a step takes as long as it may. `penstock worker --alive` tells by the
file's age, so a probe needs no port, no shell and no other program.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from penstock.common.errors import UnavailableError

log = logging.getLogger(__name__)

FRESH_SECS = 60.0
"""A file that is older is stale: longer than the broker's client takes to say that the broker is away."""
AWAY_SECS = 300.0
MAX_STALLS = 4
_TOUCH_SECS = 1.0
_ASK_SECS = 15.0


class Liveness:
    """Touches `file` from a thread of its own.

    Args:
        file: what to touch.
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
        threading.Thread(target=self._run, name="liveness", daemon=True).start()

    def promise(self, who: str, secs: float) -> None:
        """Note that a thread will be back within some seconds, or within a step's limit while one runs."""
        self._promises[who] = time.monotonic() + secs

    def note_taken(self) -> None:
        """Count a message that has come."""
        self._taken += 1

    def close(self) -> None:
        """Leave; the file grows old from here on."""
        self._stopped.set()

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
        while not self._stopped.wait(_TOUCH_SECS):
            if time.monotonic() > next_question:
                self.ask_broker()
                next_question = time.monotonic() + _ASK_SECS
            self._touch_or_tell(self.find_trouble())

    def _touch_or_tell(self, trouble: str | None) -> None:
        if trouble is None:
            touch(self._file)
        elif trouble != self._trouble:
            log.error("this worker does not get on: %s", trouble)
        self._trouble = trouble


def touch(file: Path) -> None:
    """Make a file's time now's; a full or missing disk lets it grow old."""
    try:
        file.touch()
    except OSError as error:
        log.warning("the liveness file cannot be touched: %s", error.strerror)


def is_fresh(file: Path) -> bool:
    """Whether a worker has touched the file lately."""
    try:
        return time.time() - file.stat().st_mtime < FRESH_SECS
    except OSError:
        return False

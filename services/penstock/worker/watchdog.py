"""Time limits of steps. Native code cannot be interrupted, so a step that hangs takes its process with it."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable

_POLL_SECS = 0.25
_GRACE_SECS = 5.0
_STILL_SECS = 1.0


class Watchdog:
    """Calls `on_timeout` from its own thread once what was begun has taken longer than `limit_secs`.

    `on_timeout` runs while `guard` is held, and must end the process. Should this thread itself be starved (native
    code that never lets go of the interpreter's lock), the C-level alarm ends the process a little later.

    Time for which the whole process stood still (stopped, frozen, its host asleep) counts for nothing.
    """

    def __init__(self, limit_secs: float, on_timeout: Callable[[], None]) -> None:
        self.guard = threading.Lock()
        self._limit_secs = limit_secs
        self._on_timeout = on_timeout
        self._deadline: float | None = None  # by this clock, which stands still when the process does
        self._stood_still_secs = 0.0
        self._rings = True
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the clock for the next piece of work."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        self._rings = True
        self._deadline = self._now() + self._limit_secs

    def trust(self, patience_secs: float) -> None:
        """Note that whoever does the next piece of work ends it by himself, within a time: nothing is called."""
        self._rings = False
        self._deadline = self._now() + patience_secs

    def end(self) -> None:
        """Stop the clock."""
        self._deadline = None

    @property
    def deadline(self) -> float | None:
        """Until when (`time.monotonic`) the piece of work at hand may take; None where there is none."""
        deadline = self._deadline
        return None if deadline is None else deadline + self._stood_still_secs

    def close(self) -> None:
        """Leave, and disarm the alarm."""
        self._stopped.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        looked_at = time.monotonic()
        while not self._stopped.wait(_POLL_SECS):
            now = time.monotonic()
            if now - looked_at > _STILL_SECS:
                self._stood_still_secs += now - looked_at
            looked_at = now
            faulthandler.dump_traceback_later(self._limit_secs + _GRACE_SECS, exit=True)
            if self._expired():
                with self.guard:
                    if self._expired():
                        self._on_timeout()
        faulthandler.cancel_dump_traceback_later()

    def _expired(self) -> bool:
        deadline = self._deadline
        return self._rings and deadline is not None and self._now() > deadline

    def _now(self) -> float:
        return time.monotonic() - self._stood_still_secs

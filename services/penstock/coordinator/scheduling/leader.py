"""Lets the conductor lead whenever this coordinator has the right to, and rest whenever it hasn't."""

from __future__ import annotations

import logging
import threading

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.ports.leadership import Leadership
from penstock.coordinator.scheduling.scheduler import JobScheduler

log = logging.getLogger(__name__)

_ASK_SECS = 1.0
_RETRY_SECS = 1.0
_LEAVE_SECS = 5.0


class LeaderLoop:
    """One thread: waits for the right, begins a term, ends it when the right is lost, and waits again."""

    def __init__(self, conductor: JobScheduler, leadership: Leadership) -> None:
        self._conductor = conductor
        self._leadership = leadership
        self._turned = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="leading", daemon=True)
        leadership.on_lost(self._turned.set)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the term, if there is one, and give the right up for the next coordinator.

        What hangs on a broker or a database that is away is not waited for any longer than a few seconds.
        """
        self._stopping = True
        self._turned.set()
        self._thread.join(_LEAVE_SECS)
        self._leadership.release()

    def _run(self) -> None:
        while not self._stopping:
            if self._leadership.acquire(_ASK_SECS):
                self._lead()

    def _lead(self) -> None:
        self._turned.clear()
        if self._stopping or not self._leadership.is_leader():
            return
        try:
            self._conductor.begin(self._leadership.term)
        except UnavailableError as error:
            log.warning("cannot lead yet: %s", error.message)
            self._turned.wait(_RETRY_SECS)
            return
        except Exception:
            log.exception("cannot lead yet")
            self._turned.wait(_RETRY_SECS)
            return
        self._turned.wait()
        self._conductor.end()

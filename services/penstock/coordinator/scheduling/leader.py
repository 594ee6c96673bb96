"""Leader loop: starts the scheduler while this coordinator leads, and stops it when leadership is lost."""

import logging
import threading

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.ports.leadership import Leadership
from penstock.coordinator.scheduling.scheduler import JobScheduler

log = logging.getLogger(__name__)

_ACQUIRE_SECS = 1.0
_RETRY_SECS = 1.0
_STOP_SECS = 5.0
_TASK = "leader loop"


class LeaderLoop:
    """One thread, which campaigns for leadership again and again."""

    def __init__(self, scheduler: JobScheduler, leadership: Leadership, *, retry_secs: float = _RETRY_SECS) -> None:
        self._scheduler = scheduler
        self._leadership = leadership
        self._retry_secs = retry_secs
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="leader-loop", daemon=True)
        leadership.on_lost(self._changed.set)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop leading and release leadership.

        A scheduler that hangs on an unreachable broker or database is not waited for longer than five seconds.
        """
        self._stopping = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECS)
        self._leadership.release()

    def _run(self) -> None:
        while not self._stopping:
            if self._leadership.acquire(_ACQUIRE_SECS):
                self._lead()
            else:
                self._scheduler.outage.drop()

    def _lead(self) -> None:
        self._changed.clear()
        if self._stopping or not self._leadership.is_leader():
            return
        try:
            self._scheduler.start_leading(self._leadership.term)
        except UnavailableError as error:
            self._scheduler.outage.begin(error, _TASK)
            self._changed.wait(self._retry_secs)
        except Exception:
            log.exception("cannot start leading: unexpected error")
            self._changed.wait(self._retry_secs)
        else:
            self._scheduler.outage.end(_TASK)
            self._changed.wait()
            self._scheduler.stop_leading()

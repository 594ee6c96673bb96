"""Leader call: tells the leader from another coordinator that there is work, by an event about no image.

The leader would find it by polling, but half a second later.
"""

import logging
import threading

from penstock.common.broker.base import Broker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event

log = logging.getLogger(__name__)


class LeaderCall:
    """Sends the event in a thread, because requests don't wait for a broker. May be used from any thread."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._wanted = False
        self._is_running = False

    def make(self) -> None:
        """Call the leader; returns at once. Calls that come while one is being sent become one."""
        with self._lock:
            self._wanted = True
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="leader-call", daemon=True).start()

    def _run(self) -> None:
        message = Event(kind="started", job="", chunk="").model_dump_json().encode()
        while self._take():
            try:
                self._broker.publish(EVENTS_QUEUE, [message], confirm=False)
            except UnavailableError as error:
                log.debug("leader not called: %s", error.message)
            except Exception:
                log.exception("leader not called: unexpected error")

    def _take(self) -> bool:
        with self._lock:
            wanted, self._wanted = self._wanted, False
            self._is_running = wanted
            return wanted

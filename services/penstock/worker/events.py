"""What a worker tells the coordinator: what is final at once and for sure, where chunks are on their way together."""

from __future__ import annotations

import logging
import threading
import time

from penstock.common.broker.base import Broker
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, write_events

log = logging.getLogger(__name__)

_LINGER_SECS = 0.1
_MEASURES_SECS = 1.0


class EventPublisher:
    """Tells of chunks. May be used from any thread.

    A message costs more than what a quick step does, so news of a chunk's way wait for up to a tenth of a second for
    company, and only the latest of each chunk goes out; they are for those who watch. Outcomes never wait.
    What `tally` has counted goes along about once a second.
    """

    def __init__(self, broker: Broker, tally: CallCounters) -> None:
        self._broker = broker
        self._tally = tally
        self._measured_at = 0.0
        self._changed = threading.Condition()
        self._news: dict[tuple[str, int, str], Event] = {}
        self._told_at = 0.0
        self._closed = False
        self._thread: threading.Thread | None = None

    def tell_on_way(self, event: Event, chunk: str) -> None:
        """Tell, soon, that a chunk was begun with or handed on. `chunk` is its name as it came."""
        with self._changed:
            if not self._news:
                self._wake()
            self._news[event.job, event.run, chunk] = event
            if time.monotonic() - self._told_at < _LINGER_SECS:
                return
            message = self._take()
        self._send(message)

    def tell_final(self, event: Event, chunk: str) -> None:
        """Tell outcomes; returns once the broker has them.

        Raises:
            UnavailableError: the broker is away; they may have arrived.
        """
        self._broker.publish(EVENTS_QUEUE, [self.join(event, chunk)])

    def join(self, event: Event, chunk: str) -> bytes:
        """Return the message that tells outcomes, and takes along what waits."""
        with self._changed:
            self._news.pop((event.job, event.run, chunk), None)
            return self._take(event)

    def tell_measures(self, worker: str) -> None:
        """Tell what was counted and went along with nothing: in an event that is about no image."""
        event = self._measured(Event(kind="started", job="", chunk="", worker=worker))
        if event.measures is not None:
            self._send(write_events([event]))

    def close(self) -> None:
        """Tell what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            message = self._take() if self._news else b""
        if message:
            self._send(message)
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _take(self, *more: Event) -> bytes:
        """Return what waits, and `more`, as a message. Called with the lock held."""
        events = [*self._news.values(), *more]
        now = time.monotonic()
        if self._closed or now - self._measured_at >= _MEASURES_SECS:
            events[-1] = self._measured(events[-1])
            self._measured_at = now
        self._news.clear()
        self._told_at = now
        return write_events(events)

    def _measured(self, event: Event) -> Event:
        measures = self._tally.take()
        return event.model_copy(update={"measures": measures}) if measures.calls or measures.chunks else event

    def _send(self, message: bytes) -> None:
        try:
            self._broker.publish(EVENTS_QUEUE, [message], confirm=False)
        except UnavailableError as error:
            log.warning("nobody is told where chunks are: %s", error.message)

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._closed)
                left = self._told_at + _LINGER_SECS - time.monotonic()
                self._changed.wait_for(lambda: self._closed, max(0.0, left))
                message = self._take() if self._news else b""
            if message:
                self._send(message)

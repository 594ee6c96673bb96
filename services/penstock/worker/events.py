"""EventPublisher: a worker's messages to the coordinator; outcomes at once and confirmed, progress in batches."""

import logging
import threading
import time
from collections.abc import Iterable

from penstock import __version__
from penstock.common.broker.base import Broker
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, write_events

log = logging.getLogger(__name__)

_COUNTERS_SECS = 1.0


class EventPublisher:
    """Publishes events about chunks. May be used from any thread.

    A message costs more than a quick step. So progress events wait up to `linger_secs` to be sent in one message, with
    only the latest event of each chunk; they may be lost. Outcomes never wait. About once a second, an event also
    carries what `counters` has counted since.
    """

    def __init__(self, broker: Broker, counters: CallCounters, linger_secs: float = 0.1) -> None:
        self._broker = broker
        self._counters = counters
        self._linger_secs = linger_secs
        self._counters_sent_at = 0.0
        self._changed = threading.Condition()
        self._waiting: dict[tuple[str, int, str], Event] = {}
        self._sent_at = 0.0
        self._closed = False
        self._is_awake = False
        """Whether the thread will look for what waits without being woken: to wake it for each image takes time."""
        self._thread: threading.Thread | None = None

    def publish_progress(self, event: Event, chunk: str) -> None:
        """Publish, soon, that a chunk was started or handed on. `chunk` is the name under which it was received."""
        with self._changed:
            if not self._waiting:
                self._wake_thread()
            self._waiting[event.job, event.run, chunk] = event
            if time.monotonic() - self._sent_at < self._linger_secs:
                return
            message = self._take()
        self._send(message)

    def publish_now(self, event: Event, chunk: str) -> None:
        """Publish an event at once, without waiting for the confirm; it may be lost."""
        self._send(self.make_message(event, chunk))

    def publish_outcomes(self, event: Event, chunk: str) -> None:
        """Publish outcomes and wait for the confirm; raises UnavailableError (they may have arrived nevertheless)."""
        self._broker.publish(EVENTS_QUEUE, [self.make_message(event, chunk)])

    def make_message(self, event: Event, chunk: str) -> bytes:
        """Return the message with a chunk's outcomes and all events that wait."""
        with self._changed:
            self._waiting.pop((event.job, event.run, chunk), None)
            return self._take(event)

    def publish_counters(self, worker: str) -> None:
        """Publish what was counted and sent with no event yet, in an event about no image."""
        event = self._with_counters(Event(kind="started", job="", chunk="", worker=worker))
        if event.measures is not None:
            self._send(write_events([event]))

    def publish_state(self, worker: str, waiting_for: str | None, steps: Iterable[str]) -> None:
        """Publish what keeps a worker of some steps from working; None: nothing does."""
        event = Event(
            kind="started",
            job="",
            chunk="",
            worker=worker,
            waiting_for=waiting_for,
            steps=tuple(sorted(steps)),
            version=__version__,
        )
        self._send(write_events([self._with_counters(event)]))

    def close(self) -> None:
        """Publish what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            message = self._take() if self._waiting else b""
        if message:
            self._send(message)
        if self._thread is not None:
            self._thread.join()

    def _wake_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()
        if not self._is_awake:
            self._is_awake = True
            self._changed.notify()

    def _take(self, *more: Event) -> bytes:
        """Return the events that wait, and `more`, as one message. The lock must be held."""
        events = [*self._waiting.values(), *more]
        now = time.monotonic()
        if self._closed or now - self._counters_sent_at >= _COUNTERS_SECS:
            events[-1] = self._with_counters(events[-1])
            self._counters_sent_at = now
        self._waiting.clear()
        self._sent_at = now
        return write_events(events)

    def _with_counters(self, event: Event) -> Event:
        measures = self._counters.take()
        return (
            event.model_copy(update={"measures": measures})
            if measures.calls or measures.chunks or measures.waited
            else event
        )

    def _send(self, message: bytes) -> None:
        try:
            self._broker.publish(EVENTS_QUEUE, [message], confirm=False)
        except UnavailableError as error:
            log.warning("progress events dropped: %s", error.message)

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                while not (self._waiting or self._closed):
                    self._is_awake = False
                    self._changed.wait()
                left_secs = self._sent_at + self._linger_secs - time.monotonic()
                self._changed.wait_for(lambda: self._closed, max(0.0, left_secs))
                message = self._take() if self._waiting else b""
            if message:
                self._send(message)

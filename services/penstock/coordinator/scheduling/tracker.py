"""Takes the workers' events in batches and applies each batch to the database in one transaction."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from penstock.common.broker.base import Broker, Delivery
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, MessageError, read_events
from penstock.coordinator.ports.repository import Applied, Repository
from penstock.coordinator.scheduling.in_flight import InFlight

log = logging.getLogger(__name__)

_MAX_BATCH = 500
_LINGER_SECS = 0.03
_IDLE_SECS = 0.5
_SETTLE_SECS = 0.2
"""How long an image must be worked on before its row says so: most have ended by then, at half the transactions."""
_RETRY_SECS = 1.0


class Tracker:
    """One thread. An event is acknowledged once the transaction with its outcomes is committed."""

    def __init__(
        self, repository: Repository, broker: Broker, live: InFlight, on_applied: Callable[[list[Applied]], None]
    ) -> None:
        self._repository = repository
        self._consumer = broker.consume([EVENTS_QUEUE], _MAX_BATCH)
        self._live = live
        self._on_applied = on_applied
        self._started: list[tuple[float, Event]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Apply what has arrived, and end the thread."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while True:
            deliveries = self._collect()
            if not deliveries and self._stopping.is_set():
                return
            events = self._read(deliveries)
            self._follow(events)
            while events and not self._apply(events):
                if self._stopping.wait(_RETRY_SECS):
                    return
            self._mark_running(events)
            for delivery in deliveries:
                self._consumer.ack(delivery)

    def _follow(self, events: list[Event]) -> None:
        """Count, and note where images are. What goes wrong here is put right by looks at the database, in time."""
        for event in events:
            names = {"job": event.job, "chunk": event.chunk}
            log.debug("%s, told by %s", event.kind, event.worker, extra=names)
            try:
                self._live.observe([event])
                if event.measures is not None:
                    self._live.meters.add(event.measures)
            except Exception:
                log.exception("an event is not followed", extra=names)

    def _collect(self) -> list[Delivery]:
        """Return what has arrived. While more is under way, wait a moment for company: a transaction costs the same."""
        first = self._consumer.get(_SETTLE_SECS if self._started else _IDLE_SECS)
        if first is None:
            return []
        deliveries = [first]
        deadline = time.monotonic() + _LINGER_SECS
        while len(deliveries) < _MAX_BATCH:
            busy = self._live.under_way() > 1
            delivery = self._consumer.get(max(0.0, deadline - time.monotonic()) if busy else 0.0)
            if delivery is None:
                break
            deliveries.append(delivery)
        return deliveries

    def _read(self, deliveries: list[Delivery]) -> list[Event]:
        events: list[Event] = []
        for delivery in deliveries:
            try:
                events += read_events(delivery.body)
            except MessageError as error:
                log.warning("unreadable events: %s", error.message)
                self._reject(delivery, error.message)
        return events

    def _reject(self, delivery: Delivery, reason: str) -> None:
        try:
            self._consumer.reject(delivery, reason)
        except UnavailableError as error:
            log.warning("unreadable events go without a trace: %s", error.message)

    def _apply(self, events: list[Event]) -> bool:
        finished = [event for event in events if event.kind == "finished"]
        try:
            self._on_applied(self._repository.apply(finished) if finished else [])
        except UnavailableError as error:
            log.warning("events wait: %s", error.message)
            return False
        except Exception:
            return self._apply_apart(events)
        return True

    def _apply_apart(self, events: list[Event]) -> bool:
        """Take events that failed together one by one, so that only what cannot be applied at all is dropped."""
        if len(events) > 1:
            return all(self._apply([event]) for event in events)
        log.exception(
            "an event of job %s cannot be applied and is dropped; its images are sent again",
            events[0].job,
            extra={"job": events[0].job},
        )
        return True

    def _mark_running(self, events: list[Event]) -> None:
        """Note in the database what has been worked on for a while."""
        now = time.monotonic()
        ended = {(event.job, outcome.id) for event in events for outcome in event.outcomes}
        started = self._started + [(now + _SETTLE_SECS, event) for event in events if event.kind == "started"]
        lasting = [entry for entry in started if any((entry[1].job, image) not in ended for image in entry[1].images)]
        self._started = [entry for entry in lasting if entry[0] > now]
        due = [event for at, event in lasting if at <= now]
        try:
            if due:
                self._repository.mark_running(due)
        except Exception:  # only what is shown meanwhile depends on it
            log.warning("%d chunks are not shown as running", len(due), exc_info=True)

"""Tracker: applies the workers' events to the database in batches, one transaction each."""

import logging
import threading
import time
from collections.abc import Callable

from penstock.common.broker.base import Broker, Delivery
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Event, MessageError, read_events
from penstock.coordinator.ports.repository import Applied, Repository
from penstock.coordinator.ports.unstored_jobs import UnstoredJobs
from penstock.coordinator.scheduling.in_flight import InFlight

log = logging.getLogger(__name__)

_MAX_BATCH = 500
_BATCH_SECS = 0.03
_WAITED_BATCH_SECS = 0.005
"""While a request waits for one of the images."""
_POLL_SECS = 0.5
_RUNNING_AFTER_SECS = 0.2
"""Images count as running in the database after this time; most end sooner and save a transaction."""
_RETRY_SECS = 1.0
_TASK = "tracker"


class Tracker:
    """One thread. An event is acknowledged once the transaction with its outcomes is committed.

    `on_applied` takes what changed in the database, `on_ended` the unstored jobs that ended, and `on_call` is called
    when another coordinator calls the leader.
    """

    def __init__(
        self,
        repository: Repository,
        broker: Broker,
        in_flight: InFlight,
        on_applied: Callable[[list[Applied]], None],
        *,
        unstored_jobs: UnstoredJobs | None = None,
        on_ended: Callable[[list[str]], None] = lambda _: None,
        on_call: Callable[[], None] = lambda: None,
        retry_secs: float = _RETRY_SECS,
    ) -> None:
        self._repository = repository
        self._consumer = broker.consume([EVENTS_QUEUE], _MAX_BATCH)
        self._in_flight = in_flight
        self._on_applied = on_applied
        self._unstored_jobs = unstored_jobs or UnstoredJobs(repository)
        self._on_ended = on_ended
        self._on_call = on_call
        self._retry_secs = retry_secs
        self._started: list[tuple[float, Event]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Apply the events that have arrived, and stop the thread."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while True:
            deliveries = self._collect()
            is_last = not deliveries and self._stopping.is_set()
            self._count_unstored(now=is_last)
            if is_last:
                return
            events = self._read(deliveries)
            self._update_in_flight(events)
            while events and not self._apply(events):
                if self._stopping.wait(self._retry_secs):
                    return
            self._mark_running(events)
            for delivery in deliveries:
                self._consumer.ack(delivery)

    def _update_in_flight(self, events: list[Event]) -> None:
        """Update positions and counters. After an error here, the reconciler corrects them from the database."""
        for event in events:
            context = {"job": event.job, "chunk": event.chunk}
            log.debug("event %s from worker %s", event.kind, event.worker, extra=context)
            try:
                self._in_flight.apply([event])
                if event.measures is not None:
                    self._in_flight.counters.add_measures(event.measures)
            except Exception:
                log.exception("in-flight positions not updated: unexpected error", extra=context)

    def _collect(self) -> list[Delivery]:
        """Return a batch of deliveries. While images are in flight it waits for more, which saves transactions."""
        first = self._consumer.get(_RUNNING_AFTER_SECS if self._started else _POLL_SECS)
        if first is None:
            return []
        deliveries = [first]
        unstored = self._unstored_jobs.count_open()
        deadline = time.monotonic() + (_WAITED_BATCH_SECS if unstored else _BATCH_SECS)
        while len(deliveries) < _MAX_BATCH:
            busy = self._in_flight.count() - unstored > len(deliveries)
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
                log.warning("unreadable events moved to the dead letters: %s", error.message)
                self._reject(delivery, error.message)
        return events

    def _reject(self, delivery: Delivery, reason: str) -> None:
        try:
            self._consumer.reject(delivery, reason)
        except UnavailableError as error:
            log.warning("unreadable events lost: %s", error.message)

    def _apply(self, events: list[Event]) -> bool:
        finished, ended = self._unstored_jobs.apply([event for event in events if event.kind == "finished"])
        try:
            if ended:
                self._on_ended(ended)
            if finished:
                self._on_applied(self._repository.apply(finished))
            if any(not event.job for event in events):
                self._on_call()
        except UnavailableError as error:
            self._in_flight.outage.begin(error, _TASK)
            return False
        except Exception:
            return self._apply_one_by_one(events)
        self._in_flight.outage.end(_TASK)
        return True

    def _apply_one_by_one(self, events: list[Event]) -> bool:
        """Apply events of a failed batch one by one, and drop only those that fail again."""
        if len(events) > 1:
            return all(self._apply([event]) for event in events)
        log.exception(
            "event of job %s dropped: unexpected error; its images will be requeued",
            events[0].job,
            extra={"job": events[0].job},
        )
        return True

    def _count_unstored(self, *, now: bool) -> None:
        try:
            self._unstored_jobs.count(now=now)
        except UnavailableError as error:
            log.debug("images of synchronous calls counted later: %s", error.message)

    def _mark_running(self, events: list[Event]) -> None:
        """Mark images in the database as running once they have been for a while."""
        now = time.monotonic()
        ended = {(event.job, outcome.id) for event in events for outcome in event.outcomes}
        began = [event for event in events if event.kind == "started" and event.job not in self._unstored_jobs]
        started = self._started + [(now + _RUNNING_AFTER_SECS, event) for event in began]
        running = [
            (at, event) for at, event in started if any((event.job, image) not in ended for image in event.images)
        ]
        self._started = [(at, event) for at, event in running if at > now]
        due = [event for at, event in running if at <= now]
        try:
            if due:
                self._repository.mark_running(due)
        except UnavailableError as error:
            log.debug("%d chunks not marked as running: %s", len(due), error.message)
        except Exception:  # only the display depends on it
            log.warning("%d chunks not marked as running", len(due), exc_info=True)

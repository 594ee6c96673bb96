"""The engine of the coordinator: dispatcher, tracker, and what must be cleaned up when a job ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from penstock.common.broker.base import Broker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, step_queue
from penstock.common.registry import operations
from penstock.common.store.base import Store
from penstock.common.store.keys import cancellation_key, plan_key, results_prefix, work_prefixes
from penstock.common.tracing.base import NO_TRACING, Tracing
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.repository import Applied, ConflictError, Job, Repository, StoredPlan
from penstock.coordinator.ports.scheduler import Backlog, StepStatus
from penstock.coordinator.scheduling.backlog import count_left, measure_backlog
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.garbage_collector import NEVER_RETRIED, GarbageCollector
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.leader_status import LeaderStatus, Snapshot
from penstock.coordinator.scheduling.reconciler import Reconciler, ReconcilerSettings
from penstock.coordinator.scheduling.tracker import Tracker
from penstock.coordinator.scheduling.worker_counts import WorkerCounter
from penstock.coordinator.webhooks.sender import Sender

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Term:
    """What runs while this coordinator leads."""

    live: InFlight
    tracker: Tracker
    dispatcher: Dispatcher
    housekeeper: Reconciler


class JobScheduler:
    """Moves images through their steps while it leads, and answers for them always. Implements `engine_port.Engine`."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        broker: Broker,
        dispatch: DispatchSettings,
        housekeeping: ReconcilerSettings,
        *,
        meters: Counters | None = None,
        tracing: Tracing = NO_TRACING,
        courier: Sender | None = None,
    ) -> None:
        self._repository = repository
        self._store = store
        self._broker = broker
        self._dispatch = dispatch
        self._housekeeping = housekeeping
        self._meters = meters or Counters()
        self._tracing = tracing
        self._courier = courier
        self._term: _Term | None = None
        self._hearsay = LeaderStatus(repository)
        self._census = WorkerCounter(broker)

    def recover(self) -> None:
        """Put right what a process that died has left: only with empty queues, no worker and no other coordinator."""
        again = self._repository.requeue_in_flight()
        if again:
            log.info("%d images were under way and start again", again)
        for prefix in ("work", "cancelled"):  # nothing is queued that could need them
            self._store.delete_prefix(prefix)
        GarbageCollector(self._repository, self._store, 0.0, self._housekeeping.abandoned_secs).sweep()

    def begin(self, term: int | None = None) -> None:
        """Start to lead: dispatch, track, repair and sweep. `term` is that of `leadership.Leadership`.

        Raises:
            UnavailableError: the broker or the database is away.
        """
        self._broker.declare([EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())])
        self._repository.lead(term)
        live = self._adopt()
        dispatcher = Dispatcher(self._repository, self._store, self._broker, live, self._dispatch, self._tracing)
        self._term = _Term(
            live,
            Tracker(self._repository, self._broker, live, self._on_applied),
            dispatcher,
            Reconciler(self._repository, self._store, self._broker, live, self._housekeeping, dispatcher.wake),
        )
        self._term.tracker.start()
        self._term.dispatcher.start()
        self._term.housekeeper.start()
        if self._courier is not None:
            self._courier.start()
        self._meters.leads = True
        log.info("leads, and sends what there is to be done")

    def _adopt(self) -> InFlight:
        """Follow what an earlier leader has sent; events tell where it is, and the housekeeper finds what was lost."""
        live = InFlight(self._meters)
        for job in self._repository.open_jobs():
            images = self._repository.in_flight(job.id, job.queued + job.running)
            live.adopt(job, ((image.id, image.resume_step) for image in images))
        return live

    def end(self) -> None:
        """Stop leading: nothing more is sent, and what has arrived is applied."""
        term, self._term = self._term, None
        self._meters.leads = False
        if term is not None:
            if self._courier is not None:
                self._courier.stop()
            term.housekeeper.stop()
            term.dispatcher.stop()
            term.tracker.stop()

    def wake(self) -> None:
        term = self._term
        if term is not None:  # otherwise the leader looks by itself
            term.dispatcher.wake()

    def live(self, job: str) -> list[tuple[int, int]]:
        return self._view().positions(job)

    def images_per_second(self, job: str) -> float | None:
        return self._view().images_per_second(job)

    def seconds_of(self, plan: StoredPlan) -> list[float | None]:
        return self._view().seconds_of(plan)

    def _view(self) -> InFlight | Snapshot:
        """Return what is known of the images under way: by oneself, or as the leader told not long ago."""
        term = self._term
        return self._hearsay.told() if term is None else term.live

    def cancel(self, job: str) -> Job:
        cancelled = self._repository.cancel_job(job)
        # The tombstone only saves work, so it comes second: without the row, it would make the job wait for ever.
        with _later_if_away():
            self._store.put(cancellation_key(job), [b""])
        _log_end(cancelled)
        self._end(cancelled)
        self.wake()
        return cancelled

    def retry(self, job: str, images: Sequence[int] | None) -> tuple[Job, int]:
        retried = self._repository.retry_job(job, images)
        self.wake()
        return retried

    def delete(self, job: str) -> None:
        deleted = self._repository.delete_job(job)
        self._clean(deleted)
        for prefix in (results_prefix(job), f"resume/{job}"):
            self._store.delete_prefix(prefix)
        self._store.delete(plan_key(job))
        if deleted.state != JobState.CANCELLED:  # its chunks may still be queued; a sweep removes the tombstone
            self._store.delete(cancellation_key(job))
        if deleted.upload:
            self._repository.discard_uploads(deleted.upload)
            if not self._repository.uploads_in_use([deleted.upload]):
                self._store.delete_prefix(f"uploads/{deleted.upload}")

    def steps(self) -> list[StepStatus]:
        view = self._view()
        left = count_left(self._repository.open_jobs(), view)
        chunks = view.chunks_running()
        return [self._status(step, view, *left.get(step, (0, 0.0)), chunks.get(step, 0)) for step in operations()]

    def _status(self, step: str, view: InFlight | Snapshot, remaining: int, work: float, running: int) -> StepStatus:
        depth = self._broker.depth(step_queue(step))
        secs = view.seconds_per_image(step)
        busy = view.busy(step)
        return StepStatus(
            name=step,
            workers=depth.consumers,
            ready=depth.ready,
            in_flight=max(depth.in_flight, running),
            remaining=remaining,
            seconds_per_image=secs,
            backlog_seconds=None if secs is None else work,
            utilisation=None if busy is None else min(1.0, busy / max(1, depth.consumers)),
            shared_with=tuple(sorted({other for pair in view.joined() if step in pair for other in pair} - {step})),
        )

    def backlog(self, steps: Sequence[str]) -> Backlog:
        return measure_backlog(steps, self._repository.open_jobs(), self._view(), self._census.workers)

    def _on_applied(self, applied: list[Applied]) -> None:
        for change in applied:
            with _later_if_away():
                for key in change.stale_results:
                    self._store.delete(key)
            if change.finished:
                _log_end(change.job)
            if change.finished or change.job.state == JobState.CANCELLED:
                self._end(change.job)
            elif change.job.failed and change.job.on_failure == "cancel":
                with suppress(ConflictError):
                    self.cancel(change.job.id)
        self.wake()

    def _end(self, job: Job) -> None:
        self._forget(job)
        self._clean(job)

    def _forget(self, job: Job) -> None:
        term = self._term
        if term is not None:
            term.live.forget(job.id, job.run)

    def _clean(self, job: Job) -> None:
        """Remove a job's intermediates, which nobody will read again."""
        with _later_if_away():
            for prefix in work_prefixes(job.id):
                self._store.delete_prefix(prefix)
            if job.state in NEVER_RETRIED:
                self._store.delete_prefix(f"resume/{job.id}")


def _log_end(job: Job) -> None:
    log.info(
        "job %s %s: %d done, %d failed of %d", job.id, job.state, job.done, job.failed, job.total, extra={"job": job.id}
    )


@contextmanager
def _later_if_away() -> Iterator[None]:
    """Leave what cannot be removed just now to the next sweep."""
    try:
        yield
    except UnavailableError as error:
        log.warning("left for later: %s", error.message)

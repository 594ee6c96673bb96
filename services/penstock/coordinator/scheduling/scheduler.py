"""Scheduler: starts and stops dispatcher, tracker and reconciler, and carries out cancel, retry and delete."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from penstock.common.broker.base import Broker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import step_queue
from penstock.common.registry import all_queues, disabled_steps, operations
from penstock.common.store.base import Store
from penstock.common.store.keys import cancellation_key, plan_key, results_prefix, work_prefixes
from penstock.common.tracing.base import NO_TRACING, Tracing
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.job_ends import JobEnds
from penstock.coordinator.ports.repository import Applied, ConflictError, Job, Repository, StoredPlan
from penstock.coordinator.ports.scheduler import Backlog, Forecast, JobProgress, Scheduler, StepStatus
from penstock.coordinator.scheduling.advice import FindReplicas
from penstock.coordinator.scheduling.backlog import count_remaining, forecast, measure_backlog
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.garbage_collector import NEVER_RETRIED, GarbageCollector
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.leader_call import LeaderCall
from penstock.coordinator.scheduling.reconciler import Reconciler, ReconcilerSettings
from penstock.coordinator.scheduling.snapshot import LeaderStatus, Snapshot
from penstock.coordinator.scheduling.tracker import Tracker
from penstock.coordinator.scheduling.worker_counts import WorkerCounts
from penstock.coordinator.webhooks.sender import Sender

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _LeaderThreads:
    """What runs while this coordinator leads."""

    in_flight: InFlight
    tracker: Tracker
    dispatcher: Dispatcher
    reconciler: Reconciler


class JobScheduler(Scheduler):
    """Moves images through their steps while this coordinator leads; answers queries about them always."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        broker: Broker,
        dispatch: DispatchSettings,
        reconciliation: ReconcilerSettings,
        *,
        counters: Counters | None = None,
        job_ends: JobEnds | None = None,
        tracing: Tracing = NO_TRACING,
        webhook_sender: Sender | None = None,
        find_replicas: FindReplicas = lambda _: None,
    ) -> None:
        self._repository = repository
        self._store = store
        self._broker = broker
        self._dispatch = dispatch
        self._reconciliation = reconciliation
        self._counters = counters or Counters()
        self._job_ends = job_ends or JobEnds()
        self._tracing = tracing
        self._webhook_sender = webhook_sender
        self._threads: _LeaderThreads | None = None
        self._leader_status = LeaderStatus(repository)
        self._leader_call = LeaderCall(broker)
        self._worker_counts = WorkerCounts(broker)
        self._find_replicas = find_replicas

    def recover(self) -> None:
        """Clean up after a process that crashed. Queues must be empty, and no worker or other coordinator running."""
        self._declare_queues()
        requeued = self._repository.requeue_in_flight()
        if requeued:
            log.info("requeued %d images that were in flight", requeued)
        for prefix in ("work", "cancelled"):  # only queued chunks need these
            self._store.delete_prefix(prefix)
        GarbageCollector(self._repository, self._store, 0.0, self._reconciliation.abandoned_secs).collect()

    def start_leading(self, term: int | None = None) -> None:
        """Start dispatching, tracking, reconciling and sending webhooks. `term` is the fencing token.

        Raises:
            UnavailableError: the broker or the database is unreachable.
        """
        self._declare_queues()
        self._repository.lead(term)
        in_flight = self._adopt_in_flight()
        dispatcher = Dispatcher(self._repository, self._store, self._broker, in_flight, self._dispatch, self._tracing)
        self._threads = threads = _LeaderThreads(
            in_flight,
            Tracker(self._repository, self._broker, in_flight, self._on_applied),
            dispatcher,
            Reconciler(self._repository, self._store, self._broker, in_flight, self._reconciliation, dispatcher.wake),
        )
        threads.tracker.start()
        threads.dispatcher.start()
        threads.reconciler.start()
        if self._webhook_sender is not None:
            self._webhook_sender.start()
        self._counters.is_leader = True
        log.info("became leader; dispatching")

    def _declare_queues(self) -> None:
        self._broker.declare(all_queues())

    def _adopt_in_flight(self) -> InFlight:
        """Take over what an earlier leader dispatched. Events update it, and the reconciler finds what was lost."""
        in_flight = InFlight(self._counters)
        for job in self._repository.open_jobs():
            images = self._repository.in_flight(job.id, job.queued + job.running)
            in_flight.adopt(job, ((image.id, image.resume_step) for image in images))
        return in_flight

    def stop_leading(self) -> None:
        """Stop dispatching, and apply the events that have arrived."""
        threads, self._threads = self._threads, None
        self._counters.is_leader = False
        if threads is not None:
            if self._webhook_sender is not None:
                self._webhook_sender.stop()
            threads.reconciler.stop()
            threads.dispatcher.stop()
            threads.tracker.stop()

    def wake(self) -> None:
        if not self._wake_dispatcher():
            self._leader_call.make()

    def _wake_dispatcher(self) -> bool:
        """Make the dispatcher look for work now, if this coordinator leads; return whether it does."""
        threads = self._threads
        if threads is not None:
            threads.dispatcher.wake()
        return threads is not None

    def progress(self, job: str) -> JobProgress:
        return self._leader_view().job(job)

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        return self._leader_view().service_times(plan)

    def forecast(self, job: Job) -> Forecast:
        return forecast(job, self._snapshot(), self._worker_counts.last_known, self._find_replicas)

    def _leader_view(self) -> InFlight | Snapshot:
        """Return what is in flight: as this coordinator knows it if it leads, else as the leader last told."""
        threads = self._threads
        return self._leader_status.read() if threads is None else threads.in_flight

    def _snapshot(self) -> Snapshot:
        view = self._leader_view()
        return view if isinstance(view, Snapshot) else view.snapshot()

    def cancel(self, job: str) -> Job:
        cancelled = self._repository.cancel_job(job)
        # The marker comes second: it only saves work, and on its own it would keep an open job from ever finishing.
        with _left_for_garbage_collector():
            self._store.put(cancellation_key(job), [b""])
        _log_end(cancelled)
        self._end(cancelled)
        self._wake_dispatcher()
        return cancelled

    def retry(self, job: str, images: Sequence[int] | None) -> tuple[Job, int]:
        retried = self._repository.retry_job(job, images)
        self.wake()
        return retried

    def delete(self, job: str) -> None:
        deleted = self._repository.delete_job(job)
        self._delete_intermediates(deleted)
        for prefix in (results_prefix(job), f"resume/{job}"):
            self._store.delete_prefix(prefix)
        self._store.delete(plan_key(job))
        if deleted.state != JobState.CANCELLED:  # chunks of a cancelled job may still be queued and need the marker
            self._store.delete(cancellation_key(job))
        if deleted.upload:
            self._repository.discard_uploads(deleted.upload)
            if not self._repository.uploads_in_use([deleted.upload]):
                self._store.delete_prefix(f"uploads/{deleted.upload}")

    def delete_ended(self, jobs: Sequence[str]) -> set[str]:
        deleted = self._repository.delete_ended(jobs)
        for job in deleted:
            with _left_for_garbage_collector():
                self._store.delete_prefix(results_prefix(job.id))
                if job.upload:
                    self._store.delete_prefix(f"uploads/{job.upload}")
        return {job.id for job in deleted}

    def steps(self) -> list[StepStatus]:
        snapshot = self._snapshot()
        remaining = count_remaining(self._repository.open_jobs(), snapshot)
        shown = [step for step in operations() if step in remaining or step not in disabled_steps()]
        return [self._step_status(step, snapshot, *remaining.get(step, (0, 0.0))) for step in shown]

    def _step_status(self, step: str, snapshot: Snapshot, remaining: int, work_secs: float) -> StepStatus:
        depth = self._broker.depth(step_queue(step))
        secs, busy = snapshot.step(step)
        return StepStatus(
            name=step,
            workers=depth.consumers,
            ready=depth.ready,
            in_flight=max(depth.in_flight, snapshot.running_chunks.get(step, 0)),
            remaining=remaining,
            seconds_per_image=secs,
            backlog_seconds=None if secs is None else work_secs,
            utilisation=None if busy is None else min(1.0, busy / max(1, depth.consumers)),
            shared_with=tuple(sorted(snapshot.shared_with(step))),
        )

    def backlog(self, steps: Sequence[str]) -> Backlog:
        return measure_backlog(steps, self._repository.open_jobs(), self._snapshot(), self._worker_counts.last_known)

    def _on_applied(self, applied: list[Applied]) -> None:
        for change in applied:
            with _left_for_garbage_collector():
                for key in change.stale_results:
                    self._store.delete(key)
            if change.finished:
                _log_end(change.job)
            if change.finished or change.job.state == JobState.CANCELLED:
                self._end(change.job)
            elif change.job.failed and change.job.on_failure == "cancel":
                with suppress(ConflictError):
                    self.cancel(change.job.id)
        self._wake_dispatcher()  # never the leader: its event would come back here

    def _end(self, job: Job) -> None:
        self._job_ends.announce(job.id)
        threads = self._threads
        if threads is not None:
            threads.in_flight.remove_job(job.id, job.run)
        self._delete_intermediates(job)

    def _delete_intermediates(self, job: Job) -> None:
        with _left_for_garbage_collector():
            for prefix in work_prefixes(job.id):
                self._store.delete_prefix(prefix)
            if job.state in NEVER_RETRIED:
                self._store.delete_prefix(f"resume/{job.id}")


def _log_end(job: Job) -> None:
    log.log(
        logging.DEBUG if job.is_transient else logging.INFO,
        "job %s %s: %d done, %d failed of %d",
        job.id,
        job.state,
        job.done,
        job.failed,
        job.total,
        extra={"job": job.id},
    )


@contextmanager
def _left_for_garbage_collector() -> Iterator[None]:
    """Leave objects that can't be deleted now to the garbage collector."""
    try:
        yield
    except UnavailableError as error:
        log.warning("objects not deleted yet: %s", error.message)

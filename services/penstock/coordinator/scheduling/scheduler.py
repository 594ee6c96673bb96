"""Scheduler: starts and stops dispatcher, tracker and reconciler, and carries out cancel, retry and delete."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from penstock.common.broker.base import Broker
from penstock.common.logs import OutageLog
from penstock.common.model.errors import UnavailableError
from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import step_queue
from penstock.common.registry import all_queues, disabled_steps, operations
from penstock.common.store.base import Store
from penstock.common.store.keys import cancellation_key, results_prefix, work_prefixes
from penstock.common.tracing.base import NO_TRACING, Tracing
from penstock.coordinator.ports.counters import Counters
from penstock.coordinator.ports.job_ends import JobEnds
from penstock.coordinator.ports.repository import Applied, ConflictError, Image, Job, Repository, StoredPlan
from penstock.coordinator.ports.scheduler import Backlog, Forecast, JobProgress, Scheduler, StepStatus, WorkerState
from penstock.coordinator.ports.unstored_jobs import UnstoredJobs
from penstock.coordinator.scheduling.advice import FindReplicas
from penstock.coordinator.scheduling.backlog import count_remaining, forecast, measure_backlog
from penstock.coordinator.scheduling.deadlines.claims import Claims
from penstock.coordinator.scheduling.deadlines.policy import SECS_PER_WORKER
from penstock.coordinator.scheduling.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.scheduling.garbage_collector import NEVER_RETRIED, GarbageCollector, delete_objects
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.leader_call import LeaderCall
from penstock.coordinator.scheduling.reconciler import Reconciler, ReconcilerSettings
from penstock.coordinator.scheduling.snapshot import LeaderStatus, Snapshot
from penstock.coordinator.scheduling.tracker import Tracker
from penstock.coordinator.scheduling.worker_counts import WorkerCounts, find_waiting
from penstock.coordinator.webhooks.sender import Sender

log = logging.getLogger(__name__)

_CACHE_SECS = 1.0


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
        prices: Mapping[str, float] | None = None,
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
        self._unstored_jobs = UnstoredJobs(repository)
        self._leader_status = LeaderStatus(repository)
        self._leader_call = LeaderCall(broker)
        self._worker_counts = WorkerCounts(broker)
        self._seen_workers: dict[str, int] = {}
        """Workers of each step when the broker last took messages."""
        self._find_replicas = find_replicas
        self._prices = prices or {}
        self.has_prices = bool(prices)
        self._open_jobs: tuple[float, list[Job]] = (0.0, [])
        """Until when they may be used, and the jobs."""
        self._pressing: tuple[float, set[str], set[str]] = (0.0, set(), set())
        """Until when it may be used, the jobs with a deadline, and those of them that go before others."""
        self.outage = OutageLog(log, "the coordinator")
        """What keeps this coordinator from leading, or from its work as the leader."""

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
        dispatcher = Dispatcher(
            self._repository,
            self._store,
            self._broker,
            in_flight,
            self._dispatch,
            self._tracing,
            find_pressing=self._find_pressing,
        )
        self._threads = threads = _LeaderThreads(
            in_flight,
            Tracker(
                self._repository,
                self._broker,
                in_flight,
                self._on_applied,
                unstored_jobs=self._unstored_jobs,
                on_ended=self._on_unstored_ended,
                on_call=dispatcher.wake,
            ),
            dispatcher,
            Reconciler(
                self._repository,
                self._store,
                self._broker,
                in_flight,
                self._reconciliation,
                dispatcher.wake,
                unstored_jobs=self._unstored_jobs,
            ),
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
        in_flight = InFlight(self._counters, outage=self.outage)
        for job in self._repository.open_jobs():
            in_flight.adopt(job, self._repository.in_flight(job.id).items())
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
            self.outage.drop()

    def wake(self) -> None:
        if not self._wake_dispatcher():
            self._leader_call.make()

    def _wake_dispatcher(self) -> bool:
        """Make the dispatcher look for work now, if this coordinator leads; return whether it does."""
        threads = self._threads
        if threads is not None:
            threads.dispatcher.wake()
        return threads is not None

    def create_small(self, job: Job, images: Sequence[Image]) -> Job:
        threads = self._threads
        are_pending = all(image.state is ImageState.PENDING and not image.is_group for image in images)
        if threads is None or not are_pending or not threads.dispatcher.has_room(job):
            return self._repository.create_accepted(job, images)
        if job.is_transient and len(images) == 1 and threads.dispatcher.has_workers(job):
            return self._unstored_jobs.add(job, images[0])
        return self._repository.create_dispatched(job, images)

    def start_small(self, job: Job, images: Sequence[Image]) -> None:
        threads = self._threads
        if threads is None or job.state is not JobState.RUNNING:
            self.wake()
            return
        try:
            threads.dispatcher.dispatch(job, images)
        except UnavailableError as error:
            log.warning("dispatch delayed: %s", error.message, extra={"job": job.id})
            threads.in_flight.remove_images(job.id, [image.id for image in images])
            self._requeue_small(job)
            threads.dispatcher.wake()

    def _requeue_small(self, job: Job) -> None:
        """Leave a job that could not be dispatched to the dispatcher; forget it if that is not possible either."""
        if job.id not in self._unstored_jobs:
            self._repository.requeue_in_flight(job.id)
            return
        try:
            self._unstored_jobs.store(job.id, is_dispatched=False)
        except BaseException:
            self.delete_ended([job.id])
            raise

    def find_small(self, job: str) -> Image | None:
        if self._unstored_jobs.is_overdue(job) or self._threads is None:
            self.store_small(job)
        return self._unstored_jobs.find(job) or self._repository.get_image(job, 0)

    def store_small(self, job: str) -> None:
        if job not in self._unstored_jobs:
            return
        leads = self._threads is not None
        self._unstored_jobs.store(job, is_dispatched=leads)
        if not leads:
            self.wake()

    def count_unstored(self) -> int:
        return self._unstored_jobs.count_open()

    def progress(self, job: str) -> JobProgress:
        progress = self._leader_view().job(job)
        return replace(progress, waiting_for=progress.waiting_for or self.outage.waiting_for)

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        return self._leader_view().service_times(plan)

    def forecast(self, job: Job) -> Forecast:
        snapshot = self._snapshot()
        found = forecast(job, snapshot, partial(self._count_workers, snapshot), self._find_replicas)
        if job.deadline is None and job.max_price is None:
            return found
        return replace(found, outlook=self._claims(self._read_open_jobs(), snapshot).outlook(job, found.eta_secs))

    def _read_open_jobs(self) -> list[Job]:
        """Return the open jobs, at most a second old: clients that follow a job with a deadline need them often."""
        now = time.monotonic()
        if now >= self._open_jobs[0]:
            self._open_jobs = now + _CACHE_SECS, self._repository.open_jobs()
        return self._open_jobs[1]

    def _find_pressing(self, due: Sequence[Job]) -> set[str]:
        """Return the jobs that go before others; `due` are those with a deadline. The dispatcher asks at each round."""
        now, jobs = time.monotonic(), {job.id for job in due}
        if now >= self._pressing[0] or jobs != self._pressing[1]:
            found = self._claims(self._repository.open_jobs(), self._snapshot()).pressing_jobs()
            self._pressing = now + _CACHE_SECS, jobs, found
        return self._pressing[2]

    def _claims(self, jobs: Sequence[Job], snapshot: Snapshot) -> Claims:
        def count_workers(step: str) -> int:
            return self._count_workers(snapshot, step) if step in operations() else 0

        return Claims(jobs, snapshot, count_workers, self._find_replicas, self._prices, time.time())

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

    def retry(
        self, job: str, images: Sequence[int] | None, *, everything: bool = False, code: str | None = None
    ) -> tuple[Job, int]:
        retried = self._repository.retry_job(job, images, everything=everything, code=code)
        self.wake()
        return retried

    def delete(self, job: str) -> None:
        delete_objects(self._repository, self._store, self._repository.delete_job(job))

    def delete_ended(self, jobs: Sequence[str]) -> set[str]:
        removed = {job: self._unstored_jobs.remove(job) for job in jobs}
        stored = [job for job, found in removed.items() if found is None]
        deleted = self._repository.delete_ended(stored) if stored else []
        for job in deleted:
            self._delete_small(job)
        for found in removed.values():
            if found is not None:
                self._delete_unstored(*found)
        return {*(job.id for job in deleted), *(removed.keys() - set(stored))}

    def _delete_small(self, job: Job) -> None:
        with _left_for_garbage_collector():
            self._store.delete_prefix(results_prefix(job.id))
            if job.upload:
                self._store.delete_prefix(f"uploads/{job.upload}")

    def _delete_unstored(self, job: Job, has_ended: bool) -> None:
        if not has_ended:
            with _left_for_garbage_collector():
                self._store.put(cancellation_key(job.id), [b""])
            self._end(replace(job, state=JobState.CANCELLED))
        self._delete_small(job)

    def steps(self) -> list[StepStatus]:
        snapshot = self._snapshot()
        jobs = self._repository.open_jobs()
        remaining = count_remaining(jobs, snapshot)
        shown = [step for step in operations() if step in remaining or step not in disabled_steps()]
        found = [self._step_status(step, snapshot, *remaining.get(step, (0, 0.0))) for step in shown]
        wanted = self._claims(jobs, snapshot).wanted_by_step(shown)
        found = [
            replace(step, wanted_workers=wanted[step.name][0], deadline_workers=wanted[step.name][1]) for step in found
        ]
        return self._with_blocked_workers(found)

    def _with_blocked_workers(self, found: list[StepStatus]) -> list[StepStatus]:
        """Add the workers that a broker which takes no messages keeps from working, and from saying so."""
        try:
            self._broker.check()
        except UnavailableError as error:
            waiting = [max(self._seen_workers.get(step.name, 0) - step.workers, step.waiting_workers) for step in found]
            return [
                replace(
                    step,
                    workers=max(step.workers, self._seen_workers.get(step.name, 0)),
                    waiting_workers=count,
                    waiting_for=error.waiting_for if count else None,
                )
                for step, count in zip(found, waiting, strict=True)
            ]
        self._seen_workers = {step.name: step.workers for step in found}
        return found

    def _step_status(self, step: str, snapshot: Snapshot, remaining: int, work_secs: float) -> StepStatus:
        depth = self._broker.depth(step_queue(step))
        secs, busy = snapshot.step(step)
        waiting_workers = snapshot.waiting_workers(step)
        return StepStatus(
            name=step,
            workers=depth.consumers + waiting_workers,
            ready=depth.ready,
            in_flight=max(depth.in_flight, snapshot.running_chunks.get(step, 0)),
            remaining=remaining,
            seconds_per_image=secs,
            backlog_seconds=None if secs is None else work_secs,
            utilisation=None if busy is None else min(1.0, busy / max(1, depth.consumers)),
            images_per_second=None if busy is None or not secs else busy / secs,
            shared_with=tuple(sorted(snapshot.shared_with(step))),
            waiting_workers=waiting_workers,
            waiting_for=find_waiting(snapshot.waiting, [step]),
        )

    def workers(self) -> list[WorkerState]:
        return self._snapshot().workers

    def backlog(self, steps: Sequence[str], secs_per_worker: float = SECS_PER_WORKER) -> Backlog:
        snapshot = self._snapshot()
        jobs = self._repository.open_jobs()
        measured = measure_backlog(steps, jobs, snapshot, partial(self._count_workers, snapshot))
        wanted = self._claims(jobs, snapshot).wanted_workers(steps, secs_per_worker)
        return replace(measured, wanted_workers=wanted)

    def _count_workers(self, snapshot: Snapshot, step: str) -> int:
        """Return a step's workers, as last known: those that consume from its queue, and those that wait."""
        return self._worker_counts.last_known(step) + snapshot.waiting_workers(step)

    def _on_applied(self, applied: list[Applied]) -> None:
        for change in applied:
            if change.stale_results:
                with _left_for_garbage_collector():
                    self._store.delete(*change.stale_results)
            if change.finished:
                _log_end(change.job)
            if change.finished or change.job.state == JobState.CANCELLED:
                self._end(change.job)
            elif change.job.failed and change.job.on_failure == "cancel":
                with suppress(ConflictError):
                    self.cancel(change.job.id)
        self._wake_if_waiting()

    def _on_unstored_ended(self, jobs: list[str]) -> None:
        threads = self._threads
        for job in jobs:
            self._job_ends.announce(job)
            if threads is not None:
                threads.in_flight.remove_job(job, 0)
        self._wake_if_waiting()

    def _wake_if_waiting(self) -> None:
        """Make the dispatcher use the room of images that have ended, if this coordinator leads."""
        threads = self._threads  # never the leader that another one is: its event would come back here
        if threads is not None:
            threads.dispatcher.wake_if_waiting()

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

"""The engine of the coordinator: dispatcher, tracker, and what must be cleaned up when a job ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from penstock.common.broker.port import Broker
from penstock.common.errors import UnavailableError
from penstock.common.jobs import JobState
from penstock.common.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, step_queue
from penstock.common.registry import operations
from penstock.common.store.keys import plan_key, results_prefix, tombstone_key, work_prefixes
from penstock.common.store.port import Store
from penstock.coordinator.dispatcher import Dispatcher, DispatchSettings
from penstock.coordinator.engine_port import StepStatus
from penstock.coordinator.live import Live
from penstock.coordinator.repository import Applied, ConflictError, Job, Repository
from penstock.coordinator.tracker import Tracker

log = logging.getLogger(__name__)

_NEVER_RETRIED = (JobState.SUCCEEDED, JobState.CANCELLED)


class Conductor:
    """Moves images through their steps. Implements `engine_port.Engine`.

    `workers` is how many work on each step.
    """

    def __init__(self, repository: Repository, store: Store, broker: Broker, settings: DispatchSettings) -> None:
        self._repository = repository
        self._store = store
        self._broker = broker
        self._workers = settings.workers
        self._live = Live()
        broker.declare([EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())])
        self._tracker = Tracker(repository, broker, self._live, self._on_applied)
        self._dispatcher = Dispatcher(repository, store, broker, self._live, settings)

    def recover(self) -> None:
        """Put right what a process that died has left: only at start, with empty queues and no worker running."""
        self._repository.discard_receiving()
        again = self._repository.requeue_in_flight()
        if again:
            log.info("%d images were under way and start again", again)
        for prefix in ("work", "cancelled"):  # nothing is queued that could need them
            self._store.delete_prefix(prefix)
        self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Remove what belongs to jobs that are gone, and the kept inputs of those that can't be retried."""
        for job in self._store.children("results"):
            if self._repository.get_job(job) is None:
                self._store.delete_prefix(f"results/{job}")
        for job in self._store.children("resume"):
            owner = self._repository.get_job(job)
            if owner is None or owner.state in _NEVER_RETRIED:
                self._store.delete_prefix(f"resume/{job}")
        for key in list(self._store.list("plans")):
            if self._repository.get_job(key.removeprefix("plans/").removesuffix(".json")) is None:
                self._store.delete(key)
        uploads = list(self._store.children("uploads"))
        for upload in set(uploads) - self._repository.uploads_in_use(uploads):
            self._store.delete_prefix(f"uploads/{upload}")

    def start(self) -> None:
        """Start dispatching and tracking."""
        self._tracker.start()
        self._dispatcher.start()

    def stop(self) -> None:
        """Stop dispatching, apply what has arrived, and end."""
        self._dispatcher.stop()
        self._tracker.stop()

    def wake(self) -> None:
        self._dispatcher.wake()

    def live(self, job: str) -> list[tuple[int, int]]:
        return self._live.positions(job)

    def images_per_second(self, job: str) -> float | None:
        return self._live.images_per_second(job)

    def seconds_per_image(self, step: str) -> float | None:
        return self._live.seconds_per_image(step)

    def outcomes(self) -> Mapping[str, int]:
        return self._live.outcomes()

    def cancel(self, job: str) -> Job:
        cancelled = self._repository.cancel_job(job)
        # The tombstone only saves work, so it comes second: without the row, it would make the job wait for ever.
        with _later_if_away():
            self._store.put(tombstone_key(job), [b""])
        self._live.forget(job, cancelled.run)
        self._clean(cancelled)
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
        if deleted.state != JobState.CANCELLED:  # its chunks may still be queued; `recover` removes the tombstone
            self._store.delete(tombstone_key(job))
        if deleted.upload and not self._repository.uploads_in_use([deleted.upload]):
            self._store.delete_prefix(f"uploads/{deleted.upload}")

    def steps(self) -> list[StepStatus]:
        remaining = self._remaining()
        statuses = [self._status(step, remaining.get(step, 0)) for step in operations()]
        slowest = max(statuses, key=lambda status: status.backlog_seconds or 0.0)
        if slowest.backlog_seconds:
            statuses[statuses.index(slowest)] = StepStatus(**{**vars(slowest), "bottleneck": True})
        return statuses

    def _status(self, step: str, remaining: int) -> StepStatus:
        depth = self._broker.depth(step_queue(step))
        secs = self._live.seconds_per_image(step)
        busy = self._live.busy(step)
        return StepStatus(
            name=step,
            ready=depth.ready,
            in_flight=depth.in_flight,
            remaining=remaining,
            seconds_per_image=secs,
            backlog_seconds=None if secs is None else remaining * secs / self._workers,
            utilisation=None if busy is None else min(1.0, busy / self._workers),
        )

    def _remaining(self) -> dict[str, int]:
        """Count, for each step, the images of open jobs that have not passed it."""
        remaining: dict[str, int] = {}
        for job in self._repository.open_jobs():
            left = job.pending + job.queued + job.running
            positions = self._live.positions(job.id) or [(0, 0)] * len(job.plan)
            for index, operation in enumerate(job.plan):
                step = str(operation["op"])
                passed = sum(waiting + running for waiting, running in positions[index + 1 :])
                remaining[step] = remaining.get(step, 0) + max(0, left - passed)
        return remaining

    def _on_applied(self, applied: list[Applied]) -> None:
        for change in applied:
            with _later_if_away():
                for key in change.stale_results:
                    self._store.delete(key)
            if change.finished or change.job.state == JobState.CANCELLED:
                self._end(change.job)
            elif change.job.failed and change.job.on_failure == "cancel":
                with suppress(ConflictError):
                    self.cancel(change.job.id)
        self.wake()

    def _end(self, job: Job) -> None:
        log.info("job %s %s: %d done, %d failed of %d", job.id, job.state, job.done, job.failed, job.total)
        self._live.forget(job.id, job.run)
        self._clean(job)

    def _clean(self, job: Job) -> None:
        """Remove a job's intermediates, which nobody will read again."""
        with _later_if_away():
            for prefix in work_prefixes(job.id):
                self._store.delete_prefix(prefix)
            if job.state in _NEVER_RETRIED:
                self._store.delete_prefix(f"resume/{job.id}")


@contextmanager
def _later_if_away() -> Iterator[None]:
    """Leave what cannot be removed just now to the next start, or to the job's deletion."""
    try:
        yield
    except UnavailableError as error:
        log.warning("left for later: %s", error.message)

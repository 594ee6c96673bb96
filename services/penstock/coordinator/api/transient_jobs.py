"""Transient jobs: those of requests that were answered, deleted soon after, several in one transaction."""

import logging
import threading
import time

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.ports.repository import ConflictError, Job, JobNotFoundError
from penstock.coordinator.ports.scheduler import Scheduler

_BATCH_SECS = 0.05
_MAX_BATCH = 100
_IDLE_SECS = 5.0
"""To start a thread for each request would delay its response."""
_log = logging.getLogger(__name__)


class TransientJobs:
    """Deletes jobs in a thread, which ends after a while without any. May be used from any thread.

    A job that has not ended is cancelled before. What fails here is left to the garbage collector.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._is_running = False

    def delete_soon(self, job: Job) -> None:
        """Delete a job and its files; returns at once."""
        with self._changed:
            self._waiting.append(job.id)
            if self._is_running:
                self._changed.notify()
                return
            self._is_running = True
        threading.Thread(target=self._run, name="transient-jobs", daemon=True).start()

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._delete(batch)
            except UnavailableError as error:
                _log.warning("%d jobs not deleted yet: %s", len(batch), error.message)
            except Exception:
                _log.exception("%d jobs not deleted yet: unexpected error", len(batch))

    def _take(self) -> list[str]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, _IDLE_SECS)
            if not self._waiting:
                self._is_running = False
                return []
        time.sleep(_BATCH_SECS)
        with self._changed:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            return batch

    def _delete(self, jobs: list[str]) -> None:
        open_jobs = sorted(set(jobs) - self._scheduler.delete_ended(jobs))
        for job in open_jobs:
            try:
                self._scheduler.cancel(job)
            except (ConflictError, JobNotFoundError):
                continue  # it has ended meanwhile, or is gone
        if open_jobs:
            self._scheduler.delete_ended(open_jobs)

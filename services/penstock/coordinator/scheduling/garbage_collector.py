"""Garbage collector: deletes jobs that have expired, and stored objects that nothing refers to.

Such objects are left by processes that crashed.
"""

import logging
import time
from collections.abc import Iterable
from contextlib import suppress

from penstock.common.model.jobs import TERMINAL_JOB_STATES, JobState
from penstock.common.store.base import Store
from penstock.common.store.keys import cancellation_key, plan_key, results_prefix, work_folders, work_prefixes
from penstock.coordinator.ports.ids import created_at, is_id
from penstock.coordinator.ports.repository import (
    ALL_OWNERS,
    TRANSIENT,
    ConflictError,
    Job,
    JobNotFoundError,
    Repository,
)
from penstock.coordinator.ports.unstored_jobs import UnstoredJobs

NEVER_RETRIED = (JobState.SUCCEEDED, JobState.CANCELLED)
_FULL_SECS = 3_600.0
"""How often results and uploads are checked, of which there may be very many."""
_PAGE = 100

log = logging.getLogger(__name__)


class GarbageCollector:
    """Deletes jobs that have expired, and what has no job.

    What may still become a job is kept until it is `abandoned_secs` old. Resumable uploads survive a restart of the
    coordinator and are kept until `idle_secs` after their last file.
    """

    def __init__(
        self,
        repository: Repository,
        store: Store,
        abandoned_secs: float,
        idle_secs: float | None = None,
        *,
        unstored_jobs: UnstoredJobs | None = None,
    ) -> None:
        self._repository = repository
        self._unstored_jobs = unstored_jobs or UnstoredJobs(repository)
        self._store = store
        self._abandoned_secs = abandoned_secs
        self._idle_secs = abandoned_secs if idle_secs is None else idle_secs
        self._full_at = 0.0

    def collect(self) -> None:
        """Delete what has expired, and what no job needs.

        Raises:
            UnavailableError: the store or the database is unreachable; the rest is left for the next time.
        """
        self._delete_expired_jobs()
        for folder in work_folders():  # intermediates written by workers that did not know that the job had ended
            self._delete_folders_of_jobs(folder, TERMINAL_JOB_STATES)
        self._delete_folders_of_jobs("resume", NEVER_RETRIED)
        self._collect_markers()
        if time.monotonic() >= self._full_at:
            self._delete_transient_jobs()
            self._collect_results()
            self._collect_uploads()
            self._full_at = time.monotonic() + _FULL_SECS

    def _delete_expired_jobs(self) -> None:
        """Delete jobs and their objects. If that is interrupted after a job's row, its objects are found below."""
        while (job := self._repository.expire_job(time.time())) is not None:
            delete_objects(self._repository, self._store, job)
            log.info("job %s expired and was deleted", job.id, extra={"job": job.id})

    def _delete_folders_of_jobs(self, folder: str, states: Iterable[JobState] = ()) -> None:
        """Delete what a folder has of jobs in these states, or of jobs that do not exist."""
        for job in list(self._store.children(folder)):
            if job not in self._unstored_jobs and self._state(job) in (None, *states):
                self._store.delete_prefix(f"{folder}/{job}")

    def _collect_markers(self) -> None:
        """Delete cancellation markers once no chunk of their job can be queued any more."""
        for key in list(self._store.list("cancelled")):
            name = key.removeprefix(cancellation_key(""))
            job = self._repository.get_job(name, ALL_OWNERS)
            if job is None or job.finished_at is None:
                is_old = self._is_abandoned(name)
            else:
                is_old = time.time() - job.finished_at >= self._abandoned_secs
            if is_old:
                self._store.delete(key)

    def _delete_transient_jobs(self) -> None:
        """Delete jobs whose request was to delete them, but whose coordinator died; their objects are found below."""
        oldest: str | None = None
        while jobs := self._repository.list_jobs(ALL_OWNERS, label=(TRANSIENT, "true"), limit=_PAGE, before=oldest):
            oldest = jobs[-1].id
            for job in jobs:
                if job.is_transient and job.has_ended and self._is_abandoned(job.id):
                    with suppress(JobNotFoundError, ConflictError):
                        self._repository.delete_job(job.id)

    def _collect_results(self) -> None:
        self._delete_folders_of_jobs("results")
        for key in list(self._store.list("plans")):
            job = key.removeprefix("plans/").removesuffix(".json")
            if job not in self._unstored_jobs and self._state(job) is None:
                self._store.delete(key)

    def _collect_uploads(self) -> None:
        self._repository.discard_receiving(before=time.time() - self._abandoned_secs)
        self._repository.discard_uploads(before=time.time() - self._idle_secs)
        uploads = [upload for upload in self._store.children("uploads") if self._is_abandoned(upload)]
        for upload in set(uploads) - self._repository.uploads_in_use(uploads):
            self._store.delete_prefix(f"uploads/{upload}")

    def _state(self, job: str) -> JobState | None:
        found = self._repository.get_job(job, ALL_OWNERS)
        return None if found is None else found.state

    def _is_abandoned(self, name: str) -> bool:
        return not is_id(name) or time.time() - created_at(name) >= self._abandoned_secs


def delete_objects(repository: Repository, store: Store, job: Job) -> None:
    """Delete what the store has of a job whose row was deleted.

    Raises:
        UnavailableError: the store or the database is unreachable; the garbage collector deletes the rest later.
    """
    for prefix in (*work_prefixes(job.id), results_prefix(job.id), f"resume/{job.id}"):
        store.delete_prefix(prefix)
    store.delete(plan_key(job.id))
    if job.state != JobState.CANCELLED:  # chunks of a cancelled job may still be queued and need the marker
        store.delete(cancellation_key(job.id))
    if job.upload:
        repository.discard_uploads(job.upload)
        if not repository.uploads_in_use([job.upload]):
            store.delete_prefix(f"uploads/{job.upload}")

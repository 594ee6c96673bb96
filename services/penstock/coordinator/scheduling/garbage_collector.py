"""Removes from the store what belongs to nobody any more: left by processes that died before they could."""

from __future__ import annotations

import time

from penstock.common.model.jobs import TERMINAL_JOB_STATES, JobState
from penstock.common.store.base import Store
from penstock.common.store.keys import cancellation_key, work_folders
from penstock.coordinator.ports.ids import created_at, is_id
from penstock.coordinator.ports.repository import ALL_OWNERS, Repository

NEVER_RETRIED = (JobState.SUCCEEDED, JobState.CANCELLED)
_THOROUGH_SECS = 3_600.0


class GarbageCollector:
    """Looks through the store. What has no job yet may become one until it is `abandoned_secs` old.

    Uploads that are sent file by file outlive their coordinator: they have `idle_secs` since their last file came.
    """

    def __init__(
        self, repository: Repository, store: Store, abandoned_secs: float, idle_secs: float | None = None
    ) -> None:
        self._repository = repository
        self._store = store
        self._abandoned_secs = abandoned_secs
        self._idle_secs = abandoned_secs if idle_secs is None else idle_secs
        self._thorough_at = 0.0

    def sweep(self) -> None:
        """Remove what no job needs; results and uploads, of which there may be very many, are looked at every hour.

        Raises:
            UnavailableError: the store or the database is away; what is left waits for the next sweep.
        """
        self._sweep_work()
        self._sweep_resumes()
        self._sweep_tombstones()
        if time.monotonic() >= self._thorough_at:
            self._sweep_results()
            self._sweep_uploads()
            self._thorough_at = time.monotonic() + _THOROUGH_SECS

    def _sweep_work(self) -> None:
        """Remove intermediates of jobs that have ended: late work of somebody who did not know."""
        for folder in work_folders():
            for job in list(self._store.children(folder)):
                if self._state(job) in (None, *TERMINAL_JOB_STATES):
                    self._store.delete_prefix(f"{folder}/{job}")

    def _sweep_resumes(self) -> None:
        for job in list(self._store.children("resume")):
            if self._state(job) in (None, *NEVER_RETRIED):
                self._store.delete_prefix(f"resume/{job}")

    def _sweep_tombstones(self) -> None:
        """Remove tombstones once no chunk of their job can be queued any more."""
        for key in list(self._store.list("cancelled")):
            name = key.removeprefix(cancellation_key(""))
            job = self._repository.get_job(name, ALL_OWNERS)
            ended_at = job.finished_at if job else None
            if self._is_abandoned(name) if ended_at is None else time.time() - ended_at >= self._abandoned_secs:
                self._store.delete(key)

    def _sweep_results(self) -> None:
        for job in list(self._store.children("results")):
            if self._state(job) is None:
                self._store.delete_prefix(f"results/{job}")
        for key in list(self._store.list("plans")):
            if self._state(key.removeprefix("plans/").removesuffix(".json")) is None:
                self._store.delete(key)

    def _sweep_uploads(self) -> None:
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

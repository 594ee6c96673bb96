"""How much a caller may have: of jobs, of images, and of everybody's time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.coordinator.auth.keys import ApiKey
from penstock.coordinator.ports.refusals import BUSY_RETRY_SECS
from penstock.coordinator.ports.repository import ALL_OWNERS, Job, Repository, Scope, Usage

NOTHING_MORE = Usage(0, 0, 0)
_DAY_SECS = 86_400


class QuotaError(RequestError):
    """A caller has as much as its key allows; `retry_after_secs` is when to ask again."""

    def __init__(self, code: str, message: str, retry_after_secs: int = BUSY_RETRY_SECS) -> None:
        super().__init__(429, code, message)
        self.retry_after_secs = retry_after_secs


@dataclass(frozen=True)
class Caller:
    """Who sends a request: somebody with a key, or anybody, where none is asked for."""

    key: ApiKey | None = None

    @property
    def owner(self) -> str:
        """Whose its jobs and uploads are."""
        return self.key.name if self.key else ""

    @property
    def scope(self) -> Scope:
        """Whose jobs and uploads it may see: its own; everyone's with an admin key, or where no key is needed."""
        return ALL_OWNERS if self.key is None or self.key.admin else Scope(self.owner)

    def own(self, job: Job) -> Job:
        """Return a job as it is accepted from this caller.

        Its idempotency key is the caller's own: two callers may send the same one. Neither that nor a name holds a
        blank.

        Raises:
            RequestError: 403 for a priority above what its key may ask for.
        """
        if self.key is None:
            return job
        if job.priority > self.key.max_priority and not self.key.admin:
            raise RequestError(
                403,
                "priority_not_allowed",
                f"priority {job.priority} is above what key {self.owner} may ask for; accepted is up to"
                f" {self.key.max_priority}",
                "/priority",
            )
        scoped = None if job.idempotency_key is None else self.scoped_key(job.idempotency_key)
        return replace(job, owner=self.owner, idempotency_key=scoped)

    def scoped_key(self, idempotency_key: str) -> str:
        """Return an idempotency key as it is kept."""
        return f"{self.owner} {idempotency_key}" if self.owner else idempotency_key

    def most_images(self, limits: Limits) -> int:
        """Return how many images one job may have."""
        bounds = (self.key.max_open_images, self.key.images_per_day) if self.key else ()
        return min([limits.max_images, *(bound for bound in bounds if bound is not None)])

    def check_quota(self, repository: Repository, more: Usage = NOTHING_MORE) -> None:
        """Make sure that this caller may have what it has, and `more` of it.

        With nothing more: that what it has is not too much. Asked after the images of a job were written, so that of
        several jobs at once not all slip through.

        Raises:
            QuotaError: 429, naming the limit.
        """
        key, now = self.key, time.time()
        if key is None or not any((key.max_open_jobs, key.max_open_images, key.images_per_day)):
            return
        usage = repository.usage(key.name, now)
        _refuse_above(key, "max_open_jobs", usage.open_jobs + more.open_jobs, "jobs of it are open")
        _refuse_above(key, "max_open_images", usage.open_images + more.open_images, "images of it have not ended")
        wait_secs = _DAY_SECS - int(now % _DAY_SECS)
        asked_today = usage.images_today + more.images_today
        _refuse_above(key, "images_per_day", asked_today, "images of it came today (UTC)", wait_secs)


ANYBODY = Caller()


class EventStreams:
    """The event streams that are open, `most` for each caller. Each asks the database four times a second.

    For one event loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """Count a stream of an owner while it is open.

        Raises:
            RequestError: 429.
        """
        if self._open[owner] >= self._most:
            raise RequestError(429, "too_many_streams", f"{self._most} streams of events are open; try again later")
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1


def _refuse_above(key: ApiKey, limit: str, asked: int, what: str, retry_after_secs: int = BUSY_RETRY_SECS) -> None:
    most: int | None = getattr(key, limit)
    if most is not None and asked > most:
        raise QuotaError(
            "quota_exceeded", f"{limit} of key {key.name}: as many as {most} {what}; try later", retry_after_secs
        )

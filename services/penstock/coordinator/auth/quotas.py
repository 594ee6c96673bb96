"""Quotas: how many jobs, images and event streams a caller may have."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import MAX_PRIORITY
from penstock.common.settings import Limits
from penstock.common.wording.durations import read_secs
from penstock.coordinator.auth.keys import ApiKey
from penstock.coordinator.ports.refusals import BUSY_RETRY_SECS
from penstock.coordinator.ports.repository import ALL_OWNERS, Job, Repository, Scope, Usage

_DAY_SECS = 86_400


class QuotaError(RequestError):
    """A quota of the caller's key is used up; `retry_after_secs` is when to try again."""

    def __init__(self, code: str, message: str, retry_after_secs: int = BUSY_RETRY_SECS) -> None:
        super().__init__(429, code, message)
        self.retry_after_secs = retry_after_secs


@dataclass(frozen=True)
class Caller:
    """The sender of a request. `key` is None where the server needs no key."""

    key: ApiKey | None = None

    @property
    def owner(self) -> str:
        """The owner of its jobs and uploads."""
        return self.key.name if self.key else ""

    @property
    def scope(self) -> Scope:
        """The jobs and uploads it may see: its own, or all with an admin key or where no key is needed."""
        return ALL_OWNERS if self.key is None or self.key.admin else Scope(self.owner)

    @property
    def max_priority(self) -> int:
        """The highest priority of its jobs."""
        return MAX_PRIORITY if self.key is None or self.key.admin else self.key.max_priority

    @property
    def has_quota(self) -> bool:
        """Whether its key limits open jobs or images."""
        key = self.key
        return key is not None and any((key.max_open_jobs, key.max_open_images, key.images_per_day))

    def check_priority(self, priority: int, pointer: str) -> None:
        """Raise RequestError, 403, for a priority above the key's limit; `pointer` is where the request has it."""
        if self.key is not None and priority > self.max_priority:
            message = f"priority {priority} is too high for key {self.owner}; accepted is up to {self.max_priority}"
            raise RequestError(403, "priority_not_allowed", message, pointer)

    def own(self, job: Job) -> Job:
        """Return a job as one of this caller's. Two callers may use the same idempotency key."""
        if self.key is None:
            return job
        scoped = None if job.idempotency_key is None else self.scoped_key(job.idempotency_key)
        return replace(job, owner=self.owner, idempotency_key=scoped)

    def scoped_key(self, idempotency_key: str) -> str:
        """Return an idempotency key as it is stored: with the owner's name; neither contains a space."""
        return f"{self.owner} {idempotency_key}" if self.owner else idempotency_key

    def most_images(self, limits: Limits) -> int:
        """Return the maximum number of images of one job."""
        limits_of_key = (self.key.max_open_images, self.key.images_per_day) if self.key else ()
        return min([limits.max_images, *(limit for limit in limits_of_key if limit is not None)])

    def expire_after_secs(self, limits: Limits, wanted: str | None) -> float | None:
        """Return for how many seconds a job is kept after its end: the shortest of what it, key and server say."""
        given = (wanted, None if self.key is None else self.key.expire_after, limits.expire_after)
        return min((read_secs(text) for text in given if text is not None), default=None)

    def check_quota(self, repository: Repository, more: Usage, *, is_counted: bool = False) -> None:
        """Check that what the caller has, and `more`, is within its quota.

        It is checked again after a job's images were written, because concurrent jobs may have passed the first check
        together; `is_counted` says that the database has `more` already.

        Raises:
            QuotaError: 429 with the name of the limit, and what is used and needed of it.
        """
        key, now = self.key, time.time()
        if key is None or not self.has_quota:
            return
        usage = repository.usage(key.name, now)
        wait_secs = _DAY_SECS - int(now % _DAY_SECS)
        midnight = f"at midnight UTC, in {wait_secs // 3600} h {wait_secs // 60 % 60} min"
        for limit, name, what, free, retry_after_secs in (
            ("max_open_jobs", "open_jobs", "open jobs", "when one of them ends", BUSY_RETRY_SECS),
            ("max_open_images", "open_images", "open images", "as they are done", BUSY_RETRY_SECS),
            ("images_per_day", "images_today", "images today (UTC)", midnight, wait_secs),
        ):
            allowed, needed = getattr(key, limit), getattr(more, name)
            used = getattr(usage, name) - (needed if is_counted else 0)
            if allowed is not None and used + needed > allowed:
                message = f"{limit} of key {key.name}: {used} of {allowed} {what} are used, {needed} more are needed"
                raise QuotaError("quota_exceeded", f"{message}; free again {free}", retry_after_secs)


ANYBODY = Caller()


class LongRequests:
    """Counts requests that stay open, and limits them for each caller, because each one polls the database.

    To be used from one event loop. `what` names them, and `code` is that of the refusal.
    """

    def __init__(self, most: int, what: str, code: str) -> None:
        self._most = most
        self._what = what
        self._code = code
        self._open: Counter[str] = Counter()

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """Count an owner's request while it is open.

        Raises:
            RequestError: 429 above the limit.
        """
        if self._open[owner] >= self._most:
            message = f"{self._most} {self._what} are open, which is the limit; try again later"
            raise RequestError(429, self._code, message)
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1

"""Upload quota: how much may be uploaded that no job has used yet, and be kept at all, per API key and in all."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.coordinator.auth.quotas import Caller, QuotaError
from penstock.coordinator.auth.storage_quota import check_room, read_stored_bytes
from penstock.coordinator.ports.repository import OpenUploads, Repository, StoredBytes

_REFRESH_SECS = 5.0
_ALL = None

Count = Callable[[int], None]
"""Counts bytes that have arrived; raises RequestError: 429 or 507 above a limit."""


class UploadQuota:
    """Counts the bytes of open uploads, from the database, and of requests while they arrive.

    The database is asked every few seconds, so other coordinators' uploads are counted with that delay. `check_new` and
    `refresh` wait for it, and are for threads; everything else is for one event loop.
    """

    def __init__(self, repository: Repository, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._repository = repository
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._refreshed_at: dict[str, float] = {}
        self._stored = Counter[str | None]()
        self._arriving = Counter[str | None]()
        self._kept: dict[str, list[StoredBytes]] = {}
        """What each caller's limits of stored bytes are about, open uploads included."""
        self._added = Counter[str | None]()
        """Bytes of files that have been stored since the last look at the database."""

    def check_new(self, caller: Caller) -> None:
        """Check that a caller may create an upload.

        Raises:
            QuotaError: 429 with the name of the limit.
        """
        found = self._ask(caller)
        limits, key = self._limits, caller.key
        most = _least(limits.max_open_uploads, None if key is None else key.max_open_uploads)
        if found.uploads >= most:
            raise QuotaError(
                "quota_exceeded", _describe("max_open_uploads", caller, "open uploads", found.uploads, most)
            )
        if found.all_uploads >= limits.max_server_uploads:
            message = f"the server has {found.all_uploads} open uploads; {limits.accepted('max_server_uploads')}"
            raise QuotaError("too_many_uploads", f"{message}; try again later")

    def is_fresh(self, caller: Caller) -> bool:
        """Return whether the database need not be asked about a caller again yet."""
        return self._clock() - self._refreshed_at.get(caller.owner, float("-inf")) < _REFRESH_SECS

    def refresh(self, caller: Caller) -> None:
        """Ask the database what a caller and all callers have uploaded, unless another thread just did."""
        with self._lock:
            if not self.is_fresh(caller):
                self._ask(caller)

    def _ask(self, caller: Caller) -> OpenUploads:
        found = self._repository.open_uploads(caller.owner)
        self._stored[caller.owner], self._stored[_ALL] = found.size_bytes, found.all_size_bytes
        self._kept[caller.owner] = read_stored_bytes(caller, self._limits, self._repository)
        self._added[caller.owner] = self._added[_ALL] = 0
        self._refreshed_at[caller.owner] = self._clock()
        return found

    @contextmanager
    def receive(self, caller: Caller, expected_bytes: int) -> Iterator[Count]:
        """Yield what counts the bytes of a request, of which `expected_bytes` are announced, until the context ends.

        Raises:
            RequestError: 429 or 507 if the announced bytes would be too many.
        """
        counted = 0

        def count(size_bytes: int) -> None:
            nonlocal counted
            counted += size_bytes
            self._arriving.update({caller.owner: size_bytes, _ALL: size_bytes})
            self._check(caller, 0)

        self._check(caller, expected_bytes)
        try:
            yield count
        finally:
            self._arriving.subtract({caller.owner: counted, _ALL: counted})

    def add(self, caller: Caller, size_bytes: int) -> None:
        """Note a file of an upload that has been stored since the last look at the database."""
        for counter in (self._stored, self._added):
            counter.update({caller.owner: size_bytes, _ALL: size_bytes})

    def _check(self, caller: Caller, more: int) -> None:
        limits, key = self._limits, caller.key
        most = _least(limits.max_open_upload_bytes, None if key is None else key.max_open_upload_bytes)
        size_bytes = self._stored[caller.owner] + self._arriving[caller.owner] + more
        if size_bytes > most:
            message = _describe("max_open_upload_bytes", caller, "bytes in open uploads", size_bytes, most)
            raise QuotaError("quota_exceeded", message)
        total = self._stored[_ALL] + self._arriving[_ALL] + more
        if total > limits.max_server_upload_bytes:
            message = f"all open uploads would have {total} bytes; {limits.accepted('max_server_upload_bytes')}"
            raise RequestError(507, "insufficient_storage", f"{message}; try again later")
        own, total = (self._added[whose] + self._arriving[whose] + more for whose in (caller.owner, _ALL))
        check_room(caller, limits, self._kept.get(caller.owner, []), own, total)


def _least(limit: int, limit_of_key: int | None) -> int:
    return limit if limit_of_key is None else min(limit, limit_of_key)


def _describe(limit: str, caller: Caller, what: str, found: int, most: int) -> str:
    whose = f"key {caller.owner}" if caller.key else "this server"
    return f"{limit} of {whose}: {found} {what}, {most} allowed; free again when jobs of them end, or they are deleted"

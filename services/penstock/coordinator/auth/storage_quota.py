"""Storage quota: how many bytes of uploads and results may be kept, per API key and in all.

It is checked before bytes or jobs are accepted. Jobs run to their end even if their results exceed it.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.coordinator.auth.quotas import Caller, QuotaError
from penstock.coordinator.ports.refusals import BUSY_RETRY_SECS
from penstock.coordinator.ports.repository import ALL_OWNERS, Repository, Scope, StoredBytes
from penstock.coordinator.ports.usage import sum_stored


def read_stored_bytes(caller: Caller, limits: Limits, repository: Repository) -> list[StoredBytes]:
    """Return what a caller's limits are about: what all owners have, the caller alone, or without limits nothing."""
    if limits.max_stored_bytes is not None:
        return repository.stored_bytes(ALL_OWNERS)
    if _limit_of_key(caller) is not None:
        return repository.stored_bytes(Scope(caller.owner))
    return []


def check_stored_bytes(caller: Caller, limits: Limits, repository: Repository) -> None:
    """Check that there is room for results of another job; raises as `check_room`."""
    check_room(caller, limits, read_stored_bytes(caller, limits, repository), 1, 1)


def check_room(caller: Caller, limits: Limits, stored: Sequence[StoredBytes], more: int, all_more: int) -> None:
    """Check that a caller's bytes and `more`, and those of all and `all_more`, are within the limits.

    Raises:
        QuotaError: 429 above the limit of the caller's key, with what is used, and when there is room again.
        RequestError: 507 above the server's limit, with the same.
    """
    most = _limit_of_key(caller)
    if most is not None:
        own = sum_stored([each for each in stored if each.owner == caller.owner])
        if own.total_bytes + more > most:
            message = f"max_stored_bytes of key {caller.owner}: {_describe(own, most)}"
            raise QuotaError("quota_exceeded", message, _secs_until_next_expiry(own))
    most = limits.max_stored_bytes
    if most is not None:
        total = sum_stored(stored)
        if total.total_bytes + all_more > most:
            message = f"this server (PENSTOCK_MAX_STORED_BYTES): {_describe(total, most)}"
            raise RequestError(507, "insufficient_storage", message)


def _limit_of_key(caller: Caller) -> int | None:
    return None if caller.key is None else caller.key.max_stored_bytes


def _describe(stored: StoredBytes, most: int) -> str:
    at = stored.next_expires_at
    when = "" if at is None else f" at {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC, when a job expires, or"
    return f"{stored.total_bytes} of {most} bytes are used; free again{when} when jobs or uploads are deleted"


def _secs_until_next_expiry(stored: StoredBytes) -> int:
    at = stored.next_expires_at
    return BUSY_RETRY_SECS if at is None else max(BUSY_RETRY_SECS, int(at - time.time()) + 1)

"""Leadership port: elects, of all coordinators on one database, the one that dispatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Leadership(Protocol):
    """The right to dispatch and to track, held by one coordinator at a time. May be used from any thread."""

    @property
    def term(self) -> int | None:
        """The fencing token, one higher for each leader; None if there can be only one coordinator.

        `Repository.lead` takes it, and refuses writes of leaders that were replaced while they were paused.
        """

    def acquire(self, timeout_secs: float) -> bool:
        """Wait for leadership, also while the database is unreachable; return whether this coordinator has it now."""

    def is_leader(self) -> bool:
        """Return whether this coordinator still leads. Cheap, and false in time for a process that was paused."""

    def on_lost(self, call: Callable[[], None]) -> None:
        """Register a callback for lost (not released) leadership; it runs on one of the adapter's threads.

        `acquire` does not succeed again before all callbacks have returned.
        """

    def release(self) -> None:
        """Give up leadership for good, so that another coordinator can become leader at once."""


class AlwaysLeader(Leadership):
    """Leadership of the only coordinator there can be: SQLite's data folder is locked."""

    @property
    def term(self) -> int | None:
        return None

    def acquire(self, timeout_secs: float) -> bool:  # noqa: ARG002 (the port's)
        return True

    def is_leader(self) -> bool:
        return True

    def on_lost(self, call: Callable[[], None]) -> None:
        pass

    def release(self) -> None:
        pass

"""Leadership port: elects, of all coordinators on one database, the one that dispatches."""

from abc import ABC, abstractmethod
from collections.abc import Callable


class Leadership(ABC):
    """The right to dispatch and to track, held by one coordinator at a time. May be used from any thread."""

    @property
    @abstractmethod
    def term(self) -> int | None:
        """The fencing token, one higher for each leader; None if there can be only one coordinator.

        `Repository.lead` takes it, and refuses writes of leaders that were replaced while they were paused.
        """

    @abstractmethod
    def acquire(self, timeout_secs: float) -> bool:
        """Wait for leadership, also while the database is unreachable; return whether this coordinator has it now."""

    @abstractmethod
    def is_leader(self) -> bool:
        """Return whether this coordinator still leads. Cheap, and false in time for a process that was paused."""

    @abstractmethod
    def on_lost(self, call: Callable[[], None]) -> None:
        """Register a callback for lost (not released) leadership; it runs on one of the adapter's threads.

        `acquire` does not succeed again before all callbacks have returned.
        """

    @abstractmethod
    def release(self) -> None:
        """Give leadership up for good, so that another coordinator can take it at once."""


class AlwaysLeader(Leadership):
    """Leadership of the only coordinator there can be: SQLite's data folder is locked. It cannot be lost."""

    term = None

    def acquire(self, timeout_secs: float) -> bool:  # noqa: ARG002 (the port's)
        return True

    def is_leader(self) -> bool:
        return True

    def on_lost(self, call: Callable[[], None]) -> None:
        pass

    def release(self) -> None:
        pass

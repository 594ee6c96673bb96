"""Who dispatches: of all coordinators on one database, the one that leads. All of them answer REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Leadership(Protocol):
    """The right to dispatch and to track, which one coordinator has at a time. Called from any thread."""

    @property
    def term(self) -> int | None:
        """Which time of leading this is, over all coordinators; None where there can't be another one.

        `SqlRepository.lead` fences by it: what an earlier leader still takes after it was paused is refused.
        """

    def acquire(self, timeout_secs: float) -> bool:
        """Wait for the right; return whether this coordinator has it now. A database that is away is waited for too."""

    def is_leader(self) -> bool:
        """Whether this coordinator leads still; cheap, and true no longer than a paused process could rely on it."""

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call this, from a thread of the leadership's own, whenever the right is lost (not when it is released).

        `acquire` doesn't give the right back before every such call has returned.
        """

    def release(self) -> None:
        """Give the right up for good, for the next one to take at once; every `acquire` then says no."""


class AlwaysLeader(Leadership):
    """The only coordinator there can be: a lock on the data folder keeps others out of an SQLite database."""

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

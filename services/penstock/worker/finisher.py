"""What follows a chunk's last image, done beside the next chunk's work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Finisher:
    """Does one thing at a time on a thread of its own; whoever brings the next one waits until the last is done."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[None] | None = None

    def do(self, action: Callable[[], None]) -> None:
        """Have something done. What the last one raised, if it did, is raised here."""
        self.wait(None)
        self._last = self._thread.submit(action)

    def wait(self, timeout_secs: float | None) -> None:
        """Wait until nothing is left to do.

        Raises:
            TimeoutError: not within `timeout_secs`.
        """
        last = self._last
        if last is not None:
            last.result(timeout_secs)
            self._last = None

    def close(self) -> None:
        """See the last one to its end, and leave."""
        self.wait(None)
        self._thread.shutdown()


class WaitGroup:
    """Counts what has begun and not ended. May be used from any thread."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        """One more."""
        with self._changed:
            self._count += 1

    def end(self) -> None:
        """One less."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self, timeout_secs: float) -> bool:
        """Wait until all have ended; return whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout_secs)

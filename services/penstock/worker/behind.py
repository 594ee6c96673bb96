"""What follows a chunk's last image, done beside the next chunk's work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Behind:
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

"""Open jobs: whether there may be more of them. The database counts them a few times a second, not for each request."""

import threading
import time
from collections.abc import Callable

_CACHE_SECS = 0.25


class OpenJobs:
    """The number of open jobs as last read, and those that were let in since. May be used from any thread.

    Jobs that ended since the last look count still, so it looks again before it refuses any.
    """

    def __init__(self, read: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._expires_at = float("-inf")

    def admit(self, more: int, most: int) -> bool:
        """Return whether there is room for `more` jobs below `most`, and count them if there is.

        Raises:
            UnavailableError: the database is unreachable.
        """
        with self._lock:
            if self._clock() >= self._expires_at or self._count + more > most:
                self._count, self._expires_at = self._read(), self._clock() + _CACHE_SECS
            has_room = self._count + more <= most
            if has_room:
                self._count += more
            return has_room

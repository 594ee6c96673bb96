"""Job ends: tell requests that wait for a job that it has ended, in the coordinator that leads."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MAX_ENDED_JOBS = 1_000


class JobEnds:
    """Who waits for which job. May be used from any thread.

    Only the leader sees jobs end; on other coordinators nothing is announced, except what was cancelled there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: dict[str, list[Callable[[], object]]] = {}
        self._ended: dict[str, None] = {}
        """Jobs that ended lately, so that one is not missed which ends before anyone watches it."""

    def announce(self, job: str) -> None:
        """Call the watchers of a job that has ended. `job` may end again later, if it is retried."""
        with self._lock:
            self._ended[job] = None
            if len(self._ended) > _MAX_ENDED_JOBS:
                del self._ended[next(iter(self._ended))]
            watchers = self._watchers.get(job, [])[:]
        for call in watchers:
            call()

    @contextmanager
    def watch(self, job: str, on_end: Callable[[], object]) -> Iterator[None]:
        """Have `on_end` called when a job ends, or at once if it has ended lately; it must not block or raise."""
        with self._lock:
            self._watchers.setdefault(job, []).append(on_end)
            has_ended = job in self._ended
        try:
            if has_ended:
                on_end()
            yield
        finally:
            with self._lock:
                watchers = self._watchers[job]
                watchers.remove(on_end)
                if not watchers:
                    del self._watchers[job]

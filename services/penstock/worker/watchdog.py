"""Watchdog: ends steps that exceed their time limit. Native code cannot be interrupted, so the process ends with it."""

import faulthandler
import threading
import time
from collections.abc import Callable
from typing import Self

_GRACE_SECS = 5.0
_SUSPENDED_SECS = 1.0


class Watchdog:
    """Calls `on_timeout`, on its own thread, when work within `limit()` takes longer than `limit_secs`.

    `on_timeout` must end the process; the work cannot leave `limit()` while it runs. If native code keeps even this
    thread from running, by never releasing the GIL, faulthandler's C-level timer ends the process a little later.

    Time during which the whole process was suspended (stopped, frozen, or the host asleep) does not count.
    """

    def __init__(
        self,
        limit_secs: float,
        on_timeout: Callable[[], None],
        poll_secs: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_secs = limit_secs
        self._on_timeout = on_timeout
        self._poll_secs = poll_secs
        self._clock = clock
        self._timing_out = threading.Lock()
        self._deadline: float | None = None  # by `_now`, which does not advance while the process is suspended
        self._suspended_secs = 0.0
        self._is_enforced = True
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def limit(self, enforced_elsewhere_secs: float | None = None) -> Self:
        """Limit the time of the work within `with watchdog.limit():`; not to be nested.

        `enforced_elsewhere_secs` says that something else ends the work within that time: `deadline` returns it, and
        `on_timeout` is not called.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        self._is_enforced = enforced_elsewhere_secs is None
        self._deadline = self._now() + (enforced_elsewhere_secs or self._limit_secs)
        return self

    def __enter__(self) -> None:
        """The limit is set already: this costs less than a generator, and there is one per step of every image."""

    def __exit__(self, *_: object) -> None:
        with self._timing_out:
            self._deadline = None

    @property
    def deadline(self) -> float | None:
        """When the current work must have ended, by the clock; None if there is none."""
        deadline = self._deadline
        return None if deadline is None else deadline + self._suspended_secs

    def close(self) -> None:
        """Stop watching, and cancel faulthandler's timer."""
        self._closed.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        polled_at = self._clock()
        while not self._closed.wait(self._poll_secs):
            now = self._clock()
            if now - polled_at > _SUSPENDED_SECS:
                self._suspended_secs += now - polled_at
            polled_at = now
            faulthandler.dump_traceback_later(self._limit_secs + _GRACE_SECS, exit=True)
            with self._timing_out:
                if self._has_expired():
                    self._on_timeout()
        faulthandler.cancel_dump_traceback_later()

    def _has_expired(self) -> bool:
        deadline = self._deadline
        return self._is_enforced and deadline is not None and self._now() > deadline

    def _now(self) -> float:
        return self._clock() - self._suspended_secs

"""Watchdog: ends steps that exceed their limits, or whose job was cancelled.

Native code cannot be interrupted, so the process ends with it.
"""

import faulthandler
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_GRACE_SECS = 5.0
_SUSPENDED_SECS = 1.0


@dataclass(frozen=True)
class StepLimits:
    """Limits on one step: `cpu_secs` of this process, and `wall_secs` for a step that waits for something.

    A step that gets little of a crowded CPU is slow, but well. So the second limit is much longer than the first.
    """

    cpu_secs: float
    wall_secs: float


@dataclass(slots=True)
class Work:
    """Work within limits. `began` and `deadline` are by `Watchdog._now`, which stands while the process does.

    Once it has ended without an error, `then` is called with how long it took, and the CPU seconds of this process.
    """

    watchdog: "Watchdog"
    began: float
    deadline: float
    cpu_began: float
    cpu_deadline: float
    is_enforced: bool
    then: Callable[[float, float], None]

    def __enter__(self) -> None:
        """The limit is set already: this costs less than a generator, and there is one per step of every image."""

    def __exit__(self, kind: object, *_: object) -> None:
        secs, cpu_secs = self.watchdog.end(self)
        if kind is None:
            self.then(secs, cpu_secs)


class Watchdog:
    """Calls `on_timeout`, on its own thread, with the reason, when work within `limit()` exceeds a limit.

    It calls `on_cancel` if `is_cancelled` returns true of work that has taken longer than `patience_secs`; it asks
    every `lookup_secs`.

    Both must end the process; the work cannot leave `limit()` while they run. If native code keeps even this thread
    from running, by never releasing the GIL, faulthandler's C-level timer ends the process a little later.

    Time during which the whole process was suspended (stopped, frozen, or the host asleep) does not count.
    """

    def __init__(
        self,
        limits: StepLimits,
        on_timeout: Callable[[str], None],
        poll_secs: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
        on_cancel: Callable[[], None] = lambda: None,
        lookup_secs: float = 2.0,
        patience_secs: float = 3.0,
    ) -> None:
        self._limits = limits
        self._on_timeout = on_timeout
        self._poll_secs = poll_secs
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._is_cancelled = is_cancelled
        self._on_cancel = on_cancel
        self._lookup_secs = lookup_secs
        self._patience_secs = patience_secs
        self._next_lookup = 0.0
        self._ending = threading.Lock()
        self._work: Work | None = None
        self._suspended_secs = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def limit(
        self,
        enforced_elsewhere_secs: float | None = None,
        spent_cpu_secs: float = 0.0,
        then: Callable[[float, float], None] = lambda _secs, _cpu_secs: None,
    ) -> Work:
        """Limit the time of the work within `with watchdog.limit():`; only the last limit counts.

        `enforced_elsewhere_secs` says that something else ends the work within that time: `deadline` returns it, and
        `on_timeout` is not called. `spent_cpu_secs` of the limit are used up already.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        began, cpu_began = self._now(), self._cpu_clock()
        self._work = work = Work(
            self,
            began,
            began + (enforced_elsewhere_secs or self._limits.wall_secs),
            cpu_began,
            cpu_began + self._limits.cpu_secs - spent_cpu_secs,
            enforced_elsewhere_secs is None,
            then,
        )
        return work

    def end(self, work: Work) -> tuple[float, float]:
        """Note that work has ended, or wait for ever if that is too late; return its seconds and CPU seconds."""
        with self._ending:
            self._work = None
        return self._now() - work.began, self._cpu_clock() - work.cpu_began

    @property
    def deadline(self) -> float | None:
        """When the current work must have ended, by the clock; None if there is none."""
        work = self._work
        return None if work is None else work.deadline + self._suspended_secs

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
            faulthandler.dump_traceback_later(self._limits.wall_secs + _GRACE_SECS, exit=True)
            self._poll()
            polled_at = self._clock()  # a lookup that takes long is no suspension
        faulthandler.cancel_dump_traceback_later()

    def _poll(self) -> None:
        work = self._work
        if work is None:
            return
        cancelled = self._looks_cancelled(work)
        with self._ending:
            if self._work is not work:
                return
            if cancelled:
                self._on_cancel()
            elif reason := self._expiry(work):
                self._on_timeout(reason)

    def _looks_cancelled(self, work: Work) -> bool:
        now = self._now()
        if now < max(self._next_lookup, work.began + self._patience_secs):
            return False
        self._next_lookup = now + self._lookup_secs
        return self._is_cancelled()

    def _expiry(self, work: Work) -> str | None:
        """Return which limit the work exceeds; None if it exceeds none that is enforced here."""
        if not work.is_enforced:
            return None
        if self._cpu_clock() > work.cpu_deadline:
            return f"the step took longer than {self._limits.cpu_secs:g} s of CPU time (PENSTOCK_STEP_TIMEOUT_SECS)"
        if self._now() > work.deadline:
            return f"the step took longer than {self._limits.wall_secs:g} s (PENSTOCK_STEP_WALL_SECS)"
        return None

    def _now(self) -> float:
        return self._clock() - self._suspended_secs

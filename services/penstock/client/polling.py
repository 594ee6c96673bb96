"""How often to ask for a job: often at first, since most are short, and every two seconds in the end."""

from __future__ import annotations

import time
from collections.abc import Iterator

_FIRST_SECS = 0.05
_GROWTH = 1.3
_LAST_SECS = 2.0


def poll_pauses(timeout_secs: float | None = None) -> Iterator[float]:
    """Yield the seconds to wait before asking again, until the time is up; None: for ever."""
    deadline = None if timeout_secs is None else time.monotonic() + timeout_secs
    pause_secs = _FIRST_SECS
    while deadline is None or (left := deadline - time.monotonic()) > 0:
        yield pause_secs if deadline is None else min(pause_secs, left)
        pause_secs = min(pause_secs * _GROWTH, _LAST_SECS)

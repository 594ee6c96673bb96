"""How often to ask for a job: often at first, since most are short, and every two seconds in the end."""

from __future__ import annotations

import time
from collections.abc import Iterator

from penstock.common.backoff import Backoff


def poll_pauses(timeout_secs: float | None = None) -> Iterator[float]:
    """Yield the seconds to wait before asking again, until the time is up; None: for ever."""
    deadline = None if timeout_secs is None else time.monotonic() + timeout_secs
    backoff = Backoff(first_secs=0.05, max_secs=2.0, factor=1.3, jitter=0)
    while deadline is None or (left := deadline - time.monotonic()) > 0:
        pause_secs = backoff.next_secs()
        yield pause_secs if deadline is None else min(pause_secs, left)

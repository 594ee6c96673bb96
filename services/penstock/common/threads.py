"""Joining several threads with one time limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Thread


def join_all(threads: Sequence[Thread], timeout_secs: float) -> bool:
    """Wait for all threads to end, for `timeout_secs` in all; return whether they have."""
    deadline = time.monotonic() + timeout_secs
    for thread in threads:
        if thread.ident is not None:  # an interrupt may have come before it was started
            thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)

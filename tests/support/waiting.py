"""Waiting for another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SECS = 180.0  # a busy machine takes long; only a test that fails waits so long


def wait_until(condition: Callable[[], Any], secs: float = SECS) -> None:
    """Wait for a condition; fail the test if it is not true within `secs`."""
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, f"not within {secs:g} s"
        time.sleep(0.005)

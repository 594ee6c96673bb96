"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SECS = 60.0


def wait_until(condition: Callable[[], Any], secs: float = SECS) -> None:
    """Return once a condition holds; fail the test if it doesn't within `secs`."""
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)

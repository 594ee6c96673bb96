"""How many pixels a worker keeps in memory: what it works on, what waits to be handed on, and what was read ahead."""

from __future__ import annotations

import threading


class PixelBudget:
    """A count that several threads keep."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pixels = 0

    def add(self, pixels: int) -> None:
        """Count pixels; a negative number takes them off."""
        with self._lock:
            self.pixels += pixels

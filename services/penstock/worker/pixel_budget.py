"""PixelBudget: how many pixels a worker keeps in memory at once."""

from __future__ import annotations

import threading


class PixelBudget:
    """Counts the pixels that wait for the next step or were read ahead. May be used from any thread.

    `max_pixels` is a threshold, not a limit: one image may exceed it, and its holder then stores what it keeps.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._held: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """The pixels held now."""
        with self._lock:
            return sum(self._held.values())

    @property
    def is_exceeded(self) -> bool:
        """Whether more pixels are held than the budget allows."""
        return self.used > self._max_pixels

    def has_room(self, pixels: int) -> bool:
        """Return whether so many more pixels fit."""
        return self.used + pixels <= self._max_pixels

    def hold(self, holder: object, pixels: int) -> None:
        """Set how many pixels `holder` keeps in memory; 0 releases them."""
        with self._lock:
            self._held.pop(holder, None)
            if pixels:
                self._held[holder] = pixels

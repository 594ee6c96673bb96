"""Refused keys: log lines about unknown API keys, enough to notice somebody who tries them, and few enough to read."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_PREFIX = "pk_"
_SHOWN_CHARACTERS = len(_PREFIX) + 4
"""Enough to tell keys apart. The rest still has more than 200 random bits."""
_LINES = 10
_PERIOD_SECS = 60.0


class RefusedKeys:
    """Logs up to ten refused keys a minute, and how many more there were. To be used from one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_at = clock()
        self._count = 0

    def note(self, token: str, address: str, forwarded_for: str | None) -> None:
        """Log a refused key and where it came from. `forwarded_for` is what a proxy, or the client itself, says."""
        self._begin_period()
        self._count += 1
        if self._count > _LINES:
            return
        client = (forwarded_for or "").rpartition(",")[2].strip()[:45]
        forwarded = f", forwarded for {client!a}" if client not in ("", address) else ""
        log.warning("refused an unknown API key, %s, from %s%s", _describe(token), address, forwarded)

    def _begin_period(self) -> None:
        now = self._clock()
        if now - self._began_at < _PERIOD_SECS:
            return
        if self._count > _LINES:
            log.warning("refused %d more unknown API keys", self._count - _LINES)
        self._began_at, self._count = now, 0


def _describe(token: str) -> str:
    """Return the beginning of a key. Anything else may be a secret of another kind, and is not shown."""
    shown = token[:_SHOWN_CHARACTERS]
    is_key = (
        token.startswith(_PREFIX) and len(token) > 2 * _SHOWN_CHARACTERS and token.isascii() and token.isprintable()
    )
    return f"{shown}…" if is_key else "which is not one of Penstock"

"""Replicas: how many each step has, read in the background so that no request waits for it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.common.model.errors import UnavailableError

log = logging.getLogger(__name__)

_POLL_SECS = 3.0
_STALE_SECS = 60.0


@dataclass(frozen=True)
class Replicas:
    """Replicas of one step, desired and ready."""

    desired: int
    ready: int
    deployments: tuple[str, ...] = ()
    """Names of the Deployments that they belong to."""
    namespace: str = ""
    """Their namespace; empty if unknown."""


Read = Callable[[], Mapping[str, Replicas]]
"""Returns the replicas by step; raises UnavailableError."""


class ReplicaWatch:
    """One thread that polls. The last values are valid for a minute."""

    def __init__(
        self, read: Read, *, poll_secs: float = _POLL_SECS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._poll_secs = poll_secs
        self._clock = clock
        self._replicas: Mapping[str, Replicas] = {}
        self._read_at = -math.inf
        self._failed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, without waiting for a request in progress."""
        self._stopping.set()

    def find(self, step: str) -> Replicas | None:
        """Return a step's replicas; None if unknown."""
        return self._replicas.get(step) if self._clock() - self._read_at < _STALE_SECS else None

    def poll_once(self) -> None:
        """Read now. Only the first of several failures is logged."""
        try:
            self._replicas, self._read_at = self._read(), self._clock()
        except UnavailableError as error:
            if not self._failed:
                log.warning("replica counts unavailable: %s; retrying", error.message)
            self._failed = True
        else:
            if self._failed:
                log.info("replica counts available again")
            self._failed = False

    def _run(self) -> None:
        while True:
            try:
                self.poll_once()
            except Exception:
                log.exception("replica counts unavailable: unexpected error")
            if self._stopping.wait(self._poll_secs):
                return

"""How many replicas each step has, as somebody who runs the steps tells: looked up in the background, never asked for
in a request's way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.common.model.errors import UnavailableError

log = logging.getLogger(__name__)

_LOOK_SECS = 3.0
_HOLD_SECS = 60.0


@dataclass(frozen=True)
class Replicas:
    """Replicas of one step: how many there shall be, and how many are ready."""

    desired: int
    ready: int
    deployments: tuple[str, ...] = ()
    """The Deployments whose replicas these are, by name."""
    namespace: str = ""
    """Where they are, if that is known."""


Look = Callable[[], Mapping[str, Replicas]]
"""Returns the replicas by step; raises UnavailableError where nobody answers."""


class ReplicaWatch:
    """Looks every few seconds, on one thread. What was seen last holds for a minute after nobody answers any more."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._seen: Mapping[str, Replicas] = {}
        self._seen_at = 0.0
        self._away = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look that is under way is not waited for."""
        self._stopping.set()

    def find(self, step: str) -> Replicas | None:
        """Return a step's replicas; None where nobody knows."""
        return self._seen.get(step) if time.monotonic() - self._seen_at < _HOLD_SECS else None

    def look_once(self) -> None:
        """Look now, and say once that nobody answers, and once that somebody does again."""
        try:
            self._seen, self._seen_at = self._look(), time.monotonic()
        except UnavailableError as error:
            if not self._away:
                log.warning("replicas are not known: %s; trying again, silently", error.message)
            self._away = True
        else:
            if self._away:
                log.info("replicas are known again")
            self._away = False

    def _run(self) -> None:
        while True:
            try:
                self.look_once()
            except Exception:
                log.exception("replicas cannot be looked up; trying again")
            if self._stopping.wait(_LOOK_SECS):
                return

"""AttemptCount: counts the starts of images that may have crashed a worker.

The broker counts deliveries, but a message that was only prefetched by a worker that died was delivered and never
started. So the starts of such images are counted in the store, just before each one. Nothing is written while no worker
dies.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Chunk
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.keys import attempts_key


@dataclass(frozen=True)
class AttemptCount:
    """How often an image was started, and the index of the operation it last reached."""

    count: int
    step: int


def read_attempts(store: Store, job: str, run: int, image: int, step: int) -> AttemptCount:
    """Return an image's attempts; the start that was interrupted first counts, although it was not written down."""
    try:
        return AttemptCount(**json.loads(store.get(attempts_key(job, run, image))))
    except ObjectNotFoundError:
        return AttemptCount(1, step)


def write_attempts(store: Store, job: str, run: int, image: int, attempts: AttemptCount) -> None:
    """Store an image's attempts, before a start and whenever it reaches another operation."""
    document = json.dumps({"count": attempts.count, "step": attempts.step}).encode()
    store.put(attempts_key(job, run, image), [document])


class Attempt:
    """One attempt at the image of a redelivered chunk: the `count`th."""

    def __init__(self, store: Store, chunk: Chunk, count: int) -> None:
        self.count = count
        self._store = store
        self._chunk = chunk
        self._step: int | None = None

    def enter(self, step: int) -> None:
        """Store the attempt before the operation at index `step`.

        Raises:
            UnavailableError: the store is unreachable.
        """
        if step != self._step:
            self._write(AttemptCount(self.count, step))
            self._step = step

    def forgive(self) -> None:
        """Uncount the attempt if it was started: no worker died. It stays counted if the store is unreachable."""
        if self._step is not None:
            with suppress(UnavailableError):
                self._write(AttemptCount(self.count - 1, self._chunk.step))

    def _write(self, attempts: AttemptCount) -> None:
        chunk = self._chunk
        write_attempts(self._store, chunk.job, chunk.run, chunk.images[0].id, attempts)

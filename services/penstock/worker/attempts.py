"""Attempts: counts the starts of images that may have crashed a worker.

The broker counts deliveries, also those that a worker only prefetched and never started before it died. So the starts
of such images are counted in the store, just before each one. Nothing is written unless a worker dies.
"""

import json
from contextlib import suppress

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Chunk
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.keys import attempts_key


class Attempts:
    """The attempts at the image of a redelivered chunk: their `count`, and the index of the operation last reached.

    The start that was interrupted first counts, although it was not written down. What the chunk's message says is
    `forgiven` does not.
    """

    def __init__(self, store: Store, chunk: Chunk) -> None:
        self._store = store
        self._key = attempts_key(chunk.job, chunk.run, chunk.images[0].id)
        self._first_step = chunk.step
        self._forgiven = chunk.forgiven
        self._is_stored = False
        self.count, self.step = 1, chunk.step
        with suppress(ObjectNotFoundError):
            stored = json.loads(store.get(self._key))
            self.count, self.step = max(1, stored["count"] - self._forgiven), stored["step"]

    def enter(self, step: int) -> None:
        """Store the count before the operation at index `step`; raises UnavailableError."""
        if not self._is_stored or step != self.step:
            self._is_stored = True  # even if writing fails: it may have taken effect
            self._write(self.count, step)
            self.step = step

    def forgive(self) -> bool:
        """Uncount the last attempt if it was started: no worker died. Return false if the store is unreachable.

        Then it stays counted, unless the chunk's next message forgives it.
        """
        if self._is_stored:
            try:
                self._write(self.count - 1, self._first_step)
            except UnavailableError:
                return False
        return True

    def _write(self, count: int, step: int) -> None:
        count += self._forgiven
        self._store.put(self._key, [json.dumps({"count": count, "step": step}).encode()])

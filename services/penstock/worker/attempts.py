"""Attempts: counts the starts of images that may have crashed a worker.

The broker counts deliveries, also those that a worker only prefetched and never started before it died. So the starts
of such images are counted in the store, just before each one. Nothing is written unless a worker dies.

Each message has a count of its own. An image that looks lost is sent again, although its first message may still be
worked on; what one of them starts must not look like a crash to the other. Once one of them has failed the image, the
others need not kill workers as well.
"""

import json
from contextlib import suppress

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import Chunk
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.keys import attempts_key


class Attempts:
    """The attempts at the image of a redelivered chunk: their `count`, and the `operation` last reached.

    `step` is its index in the plan, for `decode` that of the first step. `operation` is empty if it is not known.

    The start that was interrupted first counts, although it was not written down.

    Args:
        store: where they are counted.
        chunk: has the image, alone.
        message: the chunk as it was delivered. It is the same at each delivery of a message, and contains when the
            message was made, hence differs between two messages for one image.
    """

    def __init__(self, store: Store, chunk: Chunk, message: bytes) -> None:
        self._store = store
        image = chunk.job, chunk.run, chunk.images[0].id
        self._failed_key, self._key = attempts_key(*image), attempts_key(*image, message)
        self._first_step = chunk.step
        self._is_stored = False
        self.count, self.step, self.operation = 1, chunk.step, ""
        for key in (self._key, self._failed_key):
            with suppress(ObjectNotFoundError):
                stored = json.loads(store.get(key))
                self.count, self.step, self.operation = stored["count"], stored["step"], stored["operation"]

    def enter(self, step: int, operation: str = "") -> None:
        """Store the count before an operation at index `step`; raises UnavailableError."""
        if not self._is_stored or (step, operation) != (self.step, self.operation):
            self._is_stored = True  # even if writing fails: it may have taken effect
            self._write(self._key, self.count, step, operation)
            self.step, self.operation = step, operation

    def give_up(self) -> None:
        """Store, for other messages, that the image fails; raises UnavailableError."""
        self._write(self._failed_key, self.count, self.step, self.operation)

    def forgive(self) -> None:
        """Uncount the last attempt if it was started: no worker died. It stays counted if the store is unreachable."""
        if self._is_stored:
            with suppress(UnavailableError):
                self._write(self._key, self.count - 1, self._first_step)

    def _write(self, key: str, count: int, step: int, operation: str = "") -> None:
        stored = {"count": count, "step": step, "operation": operation}
        self._store.put(key, [json.dumps(stored).encode()])

"""AttemptCount: counts the starts of images that may have crashed a worker.

The broker counts deliveries, but a message that was only prefetched by a worker that died was delivered and never
started. So the starts of such images are counted in the store, just before each one. Nothing is written while no worker
dies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

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

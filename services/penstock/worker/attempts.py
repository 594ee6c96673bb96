"""Counts the starts of images over whose chunk a worker has died, so that a poison image ends and innocents don't.

The broker counts deliveries, but a message that only waited in a dead worker's hands was delivered and never started.
So a count of starts lies in the store, written just before each start. It costs nothing while nobody dies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.keys import attempts_key


@dataclass(frozen=True)
class AttemptCount:
    """How often an image was started, and the index of the operation it was last seen in."""

    count: int
    step: int


def read_starts(store: Store, job: str, run: int, image: int, step: int) -> AttemptCount:
    """Return an image's starts; the one that put it under suspicion counts, and has left no note."""
    try:
        return AttemptCount(**json.loads(store.get(attempts_key(job, run, image))))
    except ObjectNotFoundError:
        return AttemptCount(1, step)


def write_starts(store: Store, job: str, run: int, image: int, starts: AttemptCount) -> None:
    """Note a start, or the operation that a started image has come to."""
    note = json.dumps({"count": starts.count, "step": starts.step}).encode()
    store.put(attempts_key(job, run, image), [note])

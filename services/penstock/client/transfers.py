"""Many files at the same time, by a few threads that take one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from penstock.client.access import CONNECTIONS

T = TypeVar("T")


def at_once(work: Callable[[T], object], items: Iterable[T], threads: int = CONNECTIONS) -> None:
    """Do some work for every item, and raise the first error once the items at hand are done.

    Ctrl-C ends it without waiting for anybody: the threads are daemons, and one may be reading from a server that says
    nothing any more.
    """
    source = _Shared(iter(items))
    failures: list[Exception] = []

    def work_off() -> None:
        try:
            for item in source:
                work(item)
        except Exception as error:
            failures.append(error)
            source.close()

    running = [threading.Thread(target=work_off, name="transfer", daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        for thread in running:
            thread.join()
    finally:
        source.close()
    if failures:
        raise failures[0]


class _Shared(Iterator[T]):
    """An iterator for several threads, which can be ended early."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._closed = False

    def __next__(self) -> T:
        with self._lock:
            if self._closed:
                raise StopIteration
            return next(self._items)

    def close(self) -> None:
        """Give nothing any more."""
        self._closed = True

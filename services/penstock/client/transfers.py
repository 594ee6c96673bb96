"""Many files at the same time, by a few threads that take one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from penstock.client.access import CONNECTIONS

T = TypeVar("T")


def at_once(work: Callable[[T], object], items: Iterable[T], threads: int = CONNECTIONS) -> None:
    """Do some work for every item. The first error, or Ctrl-C, ends it once the items at hand are done."""
    source = _Shared(iter(items))
    with ThreadPoolExecutor(threads, "transfer") as pool:
        try:
            running = [pool.submit(_work_off, source, work) for _ in range(threads)]
            for done in wait(running, return_when=FIRST_EXCEPTION).done:
                done.result()
        finally:
            source.close()


def _work_off(source: _Shared[T], work: Callable[[T], object]) -> None:
    for item in source:
        work(item)


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

"""Concurrency of `Client`: threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from penstock.client.config import CONCURRENT_FILES

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

sleep = time.sleep


def run_blocking(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a blocking function."""
    return function(*args, **kwargs)


def iterate_blocking(items: Iterator[T]) -> Iterator[T]:
    """Return an iterator that blocks."""
    return items


def map_concurrently(function: Callable[[T], object], items: Iterable[T], threads: int = CONCURRENT_FILES) -> None:
    """Call a function for every item in a few threads; after an error, finish the calls in progress and raise it.

    The threads are daemons, and Ctrl-C does not wait for them: one may be reading from a server that no longer answers.
    """
    shared = _SharedIterator(iter(items))
    failures: list[Exception] = []

    def work() -> None:
        try:
            for item in shared:
                function(item)
        except Exception as error:
            failures.append(error)
            shared.stop()

    running = [threading.Thread(target=work, name="transfer", daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        for thread in running:
            thread.join()
    finally:
        shared.stop()
    if failures:
        raise failures[0]


class _SharedIterator(Iterator[T]):
    """An iterator that several threads may use, and that can be stopped early."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._is_stopped = False

    def __next__(self) -> T:
        with self._lock:
            if self._is_stopped:
                raise StopIteration
            return next(self._items)

    def stop(self) -> None:
        self._is_stopped = True

"""Concurrency of `Client`: threads."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from penstock.client.local_files import CONCURRENT_FILES

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
    shared = iter(items)
    lock = threading.Lock()
    stopped = threading.Event()
    failures: list[Exception] = []

    def take() -> Iterator[T]:
        while True:
            with lock:
                item = None if stopped.is_set() else next(shared, None)
            if item is None:
                return
            yield item

    def work() -> None:
        try:
            for item in take():
                function(item)
        except Exception as error:
            failures.append(error)
            stopped.set()

    running = [threading.Thread(target=work, name="transfer", daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        for thread in running:
            thread.join()
    finally:
        stopped.set()
    if failures:
        raise failures[0]

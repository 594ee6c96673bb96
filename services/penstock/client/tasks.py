"""Concurrency of `AsyncClient`: tasks, with threads for functions that block. The same functions as in `threads`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

import anyio
import anyio.to_thread

from penstock.client.local_files import CONCURRENT_FILES

T = TypeVar("T")

sleep = anyio.sleep
run_blocking = anyio.to_thread.run_sync


async def iterate_blocking(items: Iterator[T]) -> AsyncIterator[T]:
    """Yield the items of an iterator that blocks; None ends it."""
    while (item := await run_blocking(next, items, None)) is not None:
        yield item


async def map_concurrently(
    function: Callable[[T], Awaitable[object]], items: Iterable[T], tasks: int = CONCURRENT_FILES
) -> None:
    """Call a function for every item in a few tasks; after an error, finish the calls in progress and raise it."""
    shared = iter(items)
    failures: list[Exception] = []

    async def work() -> None:
        try:
            for item in shared:
                if failures:
                    return
                await function(item)
        except Exception as error:  # raised below on its own: a task group would raise an exception group
            failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(work)
    if failures:
        raise failures[0]

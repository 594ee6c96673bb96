"""Concurrency of both clients: every item once, and the first error ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import anyio
import anyio.lowlevel
import pytest

from penstock.client import tasks, threads


class Worker:
    """A function that notes its items and fails at one of them."""

    def __init__(self, failing: int | None = None) -> None:
        self.done: list[int] = []
        self._failing = failing

    def __call__(self, item: int) -> None:
        self.done.append(item)
        if item == self._failing:
            raise ValueError(f"item {item}")

    async def call(self, item: int) -> None:
        await anyio.lowlevel.checkpoint()
        self(item)


def run_in_threads(worker: Worker, items: Iterable[int]) -> None:
    threads.map_concurrently(worker, items)


def run_in_tasks(worker: Worker, items: Iterable[int]) -> None:
    anyio.run(tasks.map_concurrently, worker.call, items)


Run = Callable[[Worker, Iterable[int]], None]
both = pytest.mark.parametrize("run", [run_in_threads, run_in_tasks])


@both
def test_the_function_is_called_once_for_every_item(run: Run) -> None:
    worker = Worker()
    run(worker, range(1_000))
    assert sorted(worker.done) == list(range(1_000))


@both
def test_the_first_error_ends_it_and_is_raised(run: Run) -> None:
    worker = Worker(failing=3)
    with pytest.raises(ValueError, match="item 3"):
        run(worker, iter(range(100_000)))
    assert len(worker.done) < 100_000


@both
def test_an_error_of_the_items_is_raised(run: Run) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more items")

    with pytest.raises(OSError, match="no more items"):
        run(Worker(), items())


def test_as_many_threads_as_asked_for_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=30)
    threads.map_concurrently(lambda item: barrier.wait(), range(3), threads=3)
    assert not barrier.broken


def test_several_tasks_run_at_the_same_time() -> None:
    async def meet() -> int:
        arrived, all_arrived = 0, anyio.Event()

        async def arrive(_: int) -> None:
            nonlocal arrived
            arrived += 1
            if arrived == 3:
                all_arrived.set()
            with anyio.fail_after(30):
                await all_arrived.wait()

        await tasks.map_concurrently(arrive, range(3), tasks=3)
        return arrived

    assert anyio.run(meet) == 3

"""Measures what an image costs in each operation of a plan, here: every core works at once, as it does in earnest.

Beside each other, cores share caches, memory and, as hyperthreads, themselves; one alone would promise too much.
Seconds are CPU seconds, so what other programs take of the cores is not counted; `share` says how much was left.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import parent_process
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError, Thread

from penstock.benchmark.plan.prediction import Visit
from penstock.common.model.errors import ImageError, PenstockError
from penstock.common.model.plan import Plan, plan_of
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore
from penstock.worker.process.forkserver import CONTEXT, start_forkserver

START_TIMEOUT_SECS = 120.0
LONGEST = 4
"""How many times as long as wanted measuring may take: for photographs that take long, or on cores that others use."""


@dataclass(frozen=True)
class Measured:
    """What images cost. `share` is the part of the cores that was to be had meanwhile, 0 to 1."""

    visits: tuple[Visit, ...]
    images: int
    photos: int
    """Different photographs among them."""
    processes: int
    secs: float
    share: float


@dataclass(frozen=True)
class _Order:
    plan: list[dict[str, object]]
    photos: tuple[Path, ...]
    limits: Limits
    secs: float


@dataclass(frozen=True)
class _Tally:
    """One process: for each photograph that it saw, CPU seconds and pixels of each operation; and its own seconds."""

    by_photo: dict[int, tuple[list[float], list[int]]]
    images: int
    cpu_secs: float
    wall_secs: float


def measure(plan: Plan, photos: Sequence[Path], processes: int, secs: float, limits: Limits) -> Measured:
    """Put photographs through a plan for so many CPU seconds, and each of them once, in so many processes at once.

    Every photograph counts once in the mean, however often it was seen. `LONGEST` bounds the time, and then some of
    them may not have been seen at all.

    Raises:
        PenstockError: none of them can be read, or the plan applies to none.
    """
    start_forkserver()
    order = _Order(plan.document(), tuple(photos), limits, secs)
    barrier = CONTEXT.Barrier(processes)
    with ProcessPoolExecutor(processes, CONTEXT, _begin, (barrier,)) as pool:
        try:
            tallies = list(pool.map(_work_through, [order] * processes, share_out(len(photos), processes)))
        except (BrokenProcessPool, BrokenBarrierError) as error:
            raise PenstockError("not_measured", "a measuring process ended, or did not begin in time") from error
    return _join(plan, tallies)


def share_out(photos: int, processes: int) -> list[range]:
    """Return the photographs that each process sees first: all of them together, and where there are few, some none."""
    marks = [number * photos // processes for number in range(processes + 1)]
    return [range(begin, end) for begin, end in pairwise(marks)]


def _join(plan: Plan, tallies: Sequence[_Tally]) -> Measured:
    seen: dict[int, list[tuple[list[float], list[int]]]] = {}
    for tally in tallies:
        for photo, found in tally.by_photo.items():
            seen.setdefault(photo, []).append(found)
    if not seen:
        raise PenstockError("no_photographs", "no photograph that these operations apply to; accepted are JPEG and PNG")
    visits = []
    for index, planned in enumerate(plan.operations):
        secs = [_mean([costs[index] for costs, _ in found]) for found in seen.values()]
        pixels = [_mean([sizes[index] for _, sizes in found]) for found in seen.values()]
        visits.append(Visit(planned.step, _mean(secs), round(_mean(pixels))))
    wall = sum(tally.wall_secs for tally in tallies)
    share = min(1.0, sum(tally.cpu_secs for tally in tallies) / wall) if wall else 1.0
    images = sum(tally.images for tally in tallies)
    return Measured(tuple(visits), images, len(seen), len(tallies), wall / len(tallies), share)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_together: Barrier | None = None


def _begin(barrier: Barrier) -> None:
    global _together
    _together = barrier
    Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End when the command does, however it ends: the pool's processes would wait for its orders for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_through(order: _Order, first: range) -> _Tally:
    """Measure in this process: its share of the photographs, and on from there until the time is up."""
    from penstock.worker.process import preload  # noqa: F401 (first: it sets the allocator before OpenCV is loaded)

    plan = plan_of(order.plan)
    sums: dict[int, tuple[list[float], list[int], int]] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-plan-") as folder:
        store = LocalStore(Path(folder))
        with suppress(ImageError, OSError):
            _cost_one(plan, order.photos[0], store, order.limits)  # what is slow only once
        if _together is not None:
            _together.wait(START_TIMEOUT_SECS)
        began, cpu_began, images = time.perf_counter(), time.process_time(), 0
        while _goes_on(order, images, len(first), time.process_time() - cpu_began, time.perf_counter() - began):
            photo = (first.start + images) % len(order.photos)
            images += 1
            try:
                secs, pixels = _cost_one(plan, order.photos[photo], store, order.limits)
            except (ImageError, OSError):
                continue
            before, _, count = sums.get(photo, ([0.0] * len(secs), pixels, 0))
            sums[photo] = [one + more for one, more in zip(before, secs, strict=True)], pixels, count + 1
        cpu_secs, wall_secs = time.process_time() - cpu_began, time.perf_counter() - began
    by_photo = {photo: ([each / count for each in secs], pixels) for photo, (secs, pixels, count) in sums.items()}
    return _Tally(by_photo, images, cpu_secs, wall_secs)


def _goes_on(order: _Order, images: int, enough: int, cpu_secs: float, wall_secs: float) -> bool:
    """Whether to go on: for so many images and CPU seconds, and where others take the cores, not for ever."""
    return not images or ((images < enough or cpu_secs < order.secs) and wall_secs < order.secs * LONGEST)


def _cost_one(plan: Plan, photo: Path, store: LocalStore, limits: Limits) -> tuple[list[float], list[int]]:
    """Take one photograph all the way, as a worker does; return each operation's CPU seconds and pixels.

    Reading and decoding count for the first operation, digests and writing for the last.
    """
    from penstock.worker.executors.base import DECODE_OPERATION
    from penstock.worker.executors.in_process import InProcessExecutor

    executor = InProcessExecutor(limits)
    marks, pixels = [time.process_time()], []
    parts = executor.perform(DECODE_OPERATION, [photo.read_bytes()])
    for planned in plan.operations[:-1]:
        parts = executor.perform(planned, parts)
        pixels.append(sum(part.shape[0] * part.shape[1] for part in parts))
        marks.append(time.process_time())
    pixels.append(sum(part.shape[0] * part.shape[1] for part in parts))
    for index, file in enumerate(executor.perform(plan.operations[-1], parts)):
        hashlib.sha256(file.data)
        store.put(f"results/{index}", [file.data])  # a new file each time: making one costs more than filling it
    marks.append(time.process_time())
    return [after - before for before, after in pairwise(marks)], pixels

"""Measurement of `penstock plan`: CPU seconds of an image in each operation of a plan, on this host.

All cores measure at once, as they work in production: they share caches and memory, and hyperthreads share a core, so
one core alone would appear too fast. CPU seconds do not include other programs.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import parent_process
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import fmean
from threading import BrokenBarrierError, Thread

from penstock.benchmark.plan.prediction import Visit
from penstock.common.model.errors import ImageError, PenstockError
from penstock.common.model.plan import Plan, plan_of
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore
from penstock.worker.process.supervisor import CONTEXT, start_forkserver

START_TIMEOUT_SECS = 120.0
MAX_STRETCH = 4
"""Bound of the time relative to the requested one, for slow images or cores with other load."""


@dataclass(frozen=True)
class Measured:
    """Cost of an image. `share` is the part of the cores that other programs left, 0 to 1."""

    visits: tuple[Visit, ...]
    images: int
    photos: int
    """Number of distinct images."""
    processes: int
    secs: float
    share: float


@dataclass(frozen=True)
class _Sample:
    """Result of one process: for each distinct image, CPU seconds and pixels of each operation."""

    by_image: dict[int, tuple[list[float], list[int]]]
    images: int
    cpu_secs: float
    wall_secs: float


def measure(plan: Plan, paths: Sequence[Path], processes: int, secs: float, limits: Limits) -> Measured:
    """Run a plan on images for `secs` CPU seconds in each process, and on each image at least once.

    Each image has the same weight in the mean, however often it was measured. If measuring takes `MAX_STRETCH` times
    as long, it ends without some of the images.

    Raises:
        PenstockError: no image can be read, or the plan applies to none.
    """
    start_forkserver()
    measure_share = partial(_measure_share, plan.document(), paths, limits, secs)
    barrier = CONTEXT.Barrier(processes)
    with ProcessPoolExecutor(processes, CONTEXT, _initialize, (barrier,)) as pool:
        try:
            samples = list(pool.map(measure_share, share_out(len(paths), processes)))
        except (BrokenProcessPool, BrokenBarrierError) as error:
            raise PenstockError("not_measured", "a measuring process ended, or did not start in time") from error
    return _join(plan, samples)


def share_out(images: int, processes: int) -> list[range]:
    """Return the indexes of the images that each process measures first; some ranges are empty if there are few."""
    marks = [number * images // processes for number in range(processes + 1)]
    return [range(begin, end) for begin, end in pairwise(marks)]


def _join(plan: Plan, samples: Sequence[_Sample]) -> Measured:
    seen: dict[int, list[tuple[list[float], list[int]]]] = {}
    for sample in samples:
        for image, found in sample.by_image.items():
            seen.setdefault(image, []).append(found)
    if not seen:
        raise PenstockError("no_photographs", "these operations apply to none of the images; accepted are JPEG and PNG")
    visits = []
    for index, planned in enumerate(plan.operations):
        secs = [fmean([costs[index] for costs, _ in found]) for found in seen.values()]
        pixels = [fmean([sizes[index] for _, sizes in found]) for found in seen.values()]
        visits.append(Visit(planned.step, fmean(secs), round(fmean(pixels))))
    wall = sum(sample.wall_secs for sample in samples)
    share = min(1.0, sum(sample.cpu_secs for sample in samples) / wall) if wall else 1.0
    images = sum(sample.images for sample in samples)
    return Measured(tuple(visits), images, len(seen), len(samples), wall / len(samples), share)


_start_barrier: Barrier | None = None


def _initialize(barrier: Barrier) -> None:
    global _start_barrier
    _start_barrier = barrier
    Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent does, even if it is killed; otherwise this process would wait for tasks forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure_share(
    document: list[dict[str, object]], paths: Sequence[Path], limits: Limits, secs: float, first: range
) -> _Sample:
    """Measure in this process: its share of the images, then further ones until the time is up."""
    from penstock.worker.process import preload  # noqa: F401 (first: it sets the allocator before OpenCV is loaded)

    plan = plan_of(document)
    sums: dict[int, tuple[list[float], list[int], int]] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-plan-") as folder:
        store = LocalStore(Path(folder))
        with suppress(ImageError, OSError):
            _measure_image(plan, paths[0], store, limits)  # warm-up
        if _start_barrier is not None:
            _start_barrier.wait(START_TIMEOUT_SECS)
        began, cpu_began, images = time.perf_counter(), time.process_time(), 0
        while not images or (
            (images < len(first) or time.process_time() - cpu_began < secs)
            and time.perf_counter() - began < secs * MAX_STRETCH
        ):  # until there are enough images and CPU seconds, but in bounded time
            index = (first.start + images) % len(paths)
            images += 1
            try:
                used, pixels = _measure_image(plan, paths[index], store, limits)
            except (ImageError, OSError):
                continue
            before, _, count = sums.get(index, ([0.0] * len(used), pixels, 0))
            sums[index] = [one + more for one, more in zip(before, used, strict=True)], pixels, count + 1
        cpu_secs, wall_secs = time.process_time() - cpu_began, time.perf_counter() - began
    by_image = {index: ([each / count for each in used], pixels) for index, (used, pixels, count) in sums.items()}
    return _Sample(by_image, images, cpu_secs, wall_secs)


def _measure_image(plan: Plan, path: Path, store: LocalStore, limits: Limits) -> tuple[list[float], list[int]]:
    """Process one image as a worker does; return CPU seconds and pixels of each operation.

    The first operation includes reading and decoding, the last one digests and writing.
    """
    from penstock.worker.executors.in_process import InProcessExecutor

    executor = InProcessExecutor(limits)
    marks, pixels = [time.process_time()], []
    parts = executor.perform(plan.decoding, [path.read_bytes()])
    for planned in plan.operations[:-1]:
        parts = executor.perform(planned, parts)
        pixels.append(sum(part.width * part.height for part in parts))
        marks.append(time.process_time())
    pixels.append(sum(part.width * part.height for part in parts))
    for index, file in enumerate(executor.encode(plan.operations[-1], parts)):
        hashlib.sha256(file.data)
        store.put(f"results/{index}", [file.data])  # a new file each time: creating one costs more than writing it
    marks.append(time.process_time())
    return [after - before for before, after in pairwise(marks)], pixels

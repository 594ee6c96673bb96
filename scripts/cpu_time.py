"""CPU time: how much a process tree used, and how much other programs used on the same cores. Linux only."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from penstock.benchmark.bench.rabbitmq import cpu_secs

_PR_SET_CHILD_SUBREAPER = 36
_STAT = Path("/proc/stat")
_USED = (0, 1, 2, 5, 6, 7)
"""Fields of a core: user, nice, system, irq, softirq and steal; not idle and iowait."""


class CpuWatch:
    """Measures elapsed time, CPU time of this process and its descendants, and the load of other programs."""

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0)
        self._began, self._own, self._all = time.perf_counter(), cpu_secs(os.getpid()), used_secs(self._cores)

    def read(self) -> tuple[float, float, float]:
        """Return the seconds and CPU seconds since the start, and the share of the cores that other programs left.

        The share is 1 where `/proc/stat` does not exist.
        """
        secs = time.perf_counter() - self._began
        own = cpu_secs(os.getpid()) - self._own
        others = max(0.0, used_secs(self._cores) - self._all - own)
        return secs, own, max(0.0, 1 - others / secs / len(self._cores))


def adopt_orphans() -> None:
    """Make this process the parent of orphaned descendants, so that `cpu_secs` counts them."""
    if _STAT.exists():
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def used_secs(cores: set[int]) -> float:
    """Return the busy seconds of these cores since boot; 0 where `/proc/stat` does not exist."""
    if not _STAT.exists():
        return 0.0
    names = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in _STAT.read_text().split("\n"))
    ticks = sum(int(fields[1 + index]) for fields in lines if fields and fields[0] in names for index in _USED)
    return ticks / os.sysconf("SC_CLK_TCK")

"""Whose the cores of this host were for a while: one's own, or other programs'. As Linux tells, and nobody else."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from penstock.benchmark.bench.rabbitmq import cpu_secs

_PR_SET_CHILD_SUBREAPER = 36
_STAT = Path("/proc/stat")
_USED = (0, 1, 2, 5, 6, 7)
"""Of a core's line: user, nice, system, irq, softirq, and what the hypervisor gave to others; not idle, not iowait."""


class Watch:
    """A stopwatch for the clock, for this process and all that it started, and for everybody on its cores."""

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0)
        self._began, self._own, self._all = time.perf_counter(), cpu_secs(os.getpid()), used_secs(self._cores)

    def read(self) -> tuple[float, float, float]:
        """Return the seconds since it was made, the CPU seconds spent meanwhile, and the share of the cores to be had.

        To be had is what no other program took; all of it, where the system doesn't tell.
        """
        secs = time.perf_counter() - self._began
        own = cpu_secs(os.getpid()) - self._own
        others = max(0.0, used_secs(self._cores) - self._all - own)
        return secs, own, max(0.0, 1 - others / secs / len(self._cores))


def adopt_orphans() -> None:
    """Let processes that outlive who started them become this one's, so that their seconds count as its own."""
    if _STAT.exists():
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def used_secs(cores: set[int]) -> float:
    """Return for how long these cores have worked, for whomever; 0 where the system doesn't tell."""
    if not _STAT.exists():
        return 0.0
    named = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in _STAT.read_text().split("\n"))
    ticks = sum(int(fields[1 + index]) for fields in lines if fields and fields[0] in named for index in _USED)
    return ticks / os.sysconf("SC_CLK_TCK")

"""WorkerMemory: what a worker may use of its memory limit; an image that cannot fit is refused before it is started.

A process that exceeds the limit is killed, and with it the other images that it holds. What is counted is the least
that a step needs, so that nothing is refused that fits: its input, its output, and the scratch space that was measured.
"""

import os
from dataclasses import dataclass

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.settings import WorkerSettings
from penstock.worker.process.cgroup import read_memory_limit

_MB = 1_000_000


@dataclass(frozen=True)
class WorkerMemory:
    """A limit on this process's memory; `available_bytes` of it are left for images."""

    limit_bytes: int
    available_bytes: int

    def check(self, action: str, needed_bytes: int) -> None:
        """Raise ImageError if a step, or reading its input, needs more for one image than there is.

        Raises:
            ImageError: `too_many_pixels`.
        """
        if needed_bytes > self.available_bytes:
            raise ImageError(
                ImageCode.TOO_MANY_PIXELS,
                f"{action} needs at least {-(-needed_bytes // _MB)} MB of memory for this image; its worker has"
                f" {max(0, self.available_bytes) // _MB} MB for images, of {self.limit_bytes // _MB} MB in all"
                " (the container's memory limit, or PENSTOCK_MEMORY_LIMIT_BYTES)",
            )


def measure_memory(settings: WorkerSettings) -> WorkerMemory | None:
    """Return this process's limit, by the settings or its cgroup, to be called before it holds images; None: none."""
    limit_bytes = settings.memory_limit_bytes or read_memory_limit()
    return None if limit_bytes is None else WorkerMemory(limit_bytes, limit_bytes - _resident_bytes())


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc on this system
        return 0

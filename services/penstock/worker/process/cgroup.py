"""Cgroup: the memory limit of this process, as a container runtime or systemd sets it; versions 1 and 2."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_UNLIMITED_BYTES = 1 << 60
"""Version 1 says so by a number, of whole pages, just below 2⁶³."""


def read_memory_limit(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the lowest memory limit, in bytes, of this process's cgroup and those above it; None if there is none.

    See cgroups(7), and `memory.max` in the kernel's `admin-guide/cgroup-v2`. In a container, the paths in `groups` may
    be those of the host, while `mount` shows the container's own group at its root: that is looked at as well.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    return min((limit for line in lines for limit in _limits_of(line, mount)), default=None)


def _limits_of(line: str, mount: Path) -> Iterator[int]:
    _, controllers, path = line.split(":", 2)
    if not controllers:
        root, name = mount, "memory.max"
    elif "memory" in controllers.split(","):
        root, name = mount / "memory", "memory.limit_in_bytes"
    else:
        return
    inner = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..")))
    for folder in (inner, *inner.parents):
        with suppress(OSError, ValueError):  # ValueError: `max`
            limit = int((root / folder / name).read_text())
            if limit < _UNLIMITED_BYTES:
                yield limit

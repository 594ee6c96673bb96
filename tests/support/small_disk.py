"""Small disks in memory, which tests fill. Mounting them needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Mount = Callable[[str], Path]
"""Mounts the disk with some options, or gives it others, such as `size=2m`; returns its folder."""


@contextmanager
def small_disk(path: Path) -> Iterator[Mount]:
    """Provide a disk at a folder, which is created. Skips the test if nothing can be mounted."""
    path.mkdir()

    def mount(options: str) -> Path:
        how = ["-o", f"remount,{options}"] if os.path.ismount(path) else ["-t", "tmpfs", "-o", options]
        done = subprocess.run(["mount", *how, "tmpfs", path], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this process cannot mount a file system: {done.stderr.strip()}")
        return path

    try:
        yield mount
    finally:
        if os.path.ismount(path):
            subprocess.run(["umount", "-l", path], check=True)


def fill(path: Path, keep_bytes: int = 0) -> None:
    """Fill the disk that a file is on, except for some bytes, by writing the file. Removing it frees them."""
    with open(path, "wb", buffering=0) as file:
        while (size_bytes := free_bytes(path.parent) - keep_bytes) > 0:
            file.write(bytes(min(size_bytes, 1 << 20)))


def free_bytes(folder: Path) -> int:
    """Return the free bytes of a folder's disk."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize

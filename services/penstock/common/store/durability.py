"""Durability: files and folders that a power failure must not lose are written to the disk (`fsync`)."""

import os
import threading
from contextlib import suppress

DURABLE = frozenset(("uploads", "results", "plans"))
"""Folders of the store that must not be lost: the first two are acknowledged, and no job runs without its plan.
Everything else is made again from them."""

_MAX_KNOWN = 10_000


class FolderSync:
    """Writes entries of folders to the disk. May be used from any thread.

    A new folder is an entry of its parent, which may not be on the disk either. So a folder that this process has not
    seen before is written with those above it, up to one that was written before, or to where its file system is
    mounted.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def sync(self, folder: str) -> None:
        """Write a folder's entries, and after the first call only those; raises OSError."""
        if folder in self._known:
            _sync(folder)
            return
        _sync(folder)
        device, child, parent = os.stat(folder).st_dev, folder, os.path.dirname(folder)
        written = [folder]
        while parent != child and os.stat(parent).st_dev == device:
            with suppress(PermissionError):  # of others, who made it long ago
                _sync(parent)
            if parent in self._known:
                break
            written.append(parent)
            child, parent = parent, os.path.dirname(parent)
        self._remember(written)

    def _remember(self, folders: list[str]) -> None:
        with self._lock:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known.update(folders)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

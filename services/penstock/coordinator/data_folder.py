"""Data folder: created for its owner alone, and locked, because two coordinators would undo each other's work."""

import errno
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.common.model.errors import StartupError

log = logging.getLogger(__name__)

_SHARED_FOLDER_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP)
"""What file systems that cannot lock a folder answer, such as NFS."""


@contextmanager
def lock_data_folder(data: Path, *, shared: bool = False) -> Iterator[None]:
    """Create and lock the data folder; nobody else may enter it, or only pass through it if it is `shared`.

    Locked are the folder, which cannot be deleted while it has files, and the file `lock` in it, for versions that know
    only that, and file systems that lock only files.

    Raises:
        StartupError: another process has locked the folder, or it can't be used.
    """
    try:
        data.mkdir(mode=0o711 if shared else 0o700, parents=True, exist_ok=True)
        folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(data, error) from error
    try:
        _protect(folder, data, shared=shared)
        _lock(folder, data, ignored=_SHARED_FOLDER_LOCKS)
        try:
            file = open(data / "lock", "w", encoding="utf-8")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise _unusable(data, error) from error
        with file:
            _lock(file.fileno(), data)
            yield
    finally:
        os.close(folder)


def _lock(descriptor: int, data: Path, ignored: tuple[int, ...] = ()) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in ignored:
            return
        message = f"{data} is in use by another Penstock; choose another --data"
        raise StartupError("data_in_use", message) from error


def _protect(folder: int, data: Path, *, shared: bool) -> None:
    """Take away others' access to a folder, except that of a group that may write into it."""
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    removed = 0o066 if shared else 0o077
    if mode & (stat.S_IWGRP | stat.S_ISGID):
        removed &= 0o007
    if not mode & removed:
        return
    try:
        os.fchmod(folder, mode & ~removed)
    except OSError as error:  # it belongs to somebody else, as a mounted volume may
        if mode & stat.S_IWOTH:
            log.warning(
                "%s can be changed by every user of this host, and its mode cannot be set: %s", data, error.strerror
            )


def _unusable(data: Path, error: OSError) -> StartupError:
    return StartupError("data_unusable", f"cannot use {data}: {error.strerror}; choose another --data")

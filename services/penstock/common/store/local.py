"""Local store: objects as files in a folder of this host, each written with one rename."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import count
from pathlib import Path

from penstock.common.model.errors import FullError, ObjectFailedError, UnavailableError
from penstock.common.store.base import Buffer, ObjectNotFoundError, Room
from penstock.common.store.durability import DURABLE, FolderSync
from penstock.common.store.keys import TEMPORARY, check_key

_PIECE = 1024 * 1024
_MAX_VECTOR = 1024
_SMALL_BYTES = 4096
"""Objects up to this size, such as the marks of cancelled jobs, may use the whole reserve."""
_RESERVE_SHARE = 20
_ATTEMPTS = 100
"""How often a folder is deleted or made while others do the opposite."""
_OF_OTHERS = frozenset({errno.ENOENT, errno.ENOTEMPTY})
"""Errors that others cause who delete the same folder or write to it."""
_OF_ONE_OBJECT = frozenset(
    {errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL, errno.EILSEQ, errno.EFBIG, errno.ELOOP, errno.EIO}
)


class LocalStore:
    """Objects as files below `root`, which processes and threads may share.

    `reserve_bytes` are kept free, as in `measure_room`. With `fsync`, uploads, results and plans are on the disk when
    `put` or `commit` returns, unless they are volatile.
    """

    def __init__(self, root: Path, *, reserve_bytes: int = 0, fsync: bool = False) -> None:
        self.root = root.absolute()
        self._reserve_bytes = reserve_bytes
        self._temporary = str(self.root / TEMPORARY)
        self._unique = count()
        self._folder_sync = FolderSync() if fsync else None
        with _translated():
            os.makedirs(self._temporary, exist_ok=True)

    def put(self, key: str, pieces: Sequence[Buffer], *, volatile: bool = False) -> None:
        path = self._path(key)
        temporary = self._temporary_path()
        self._check_room(sum(memoryview(piece).nbytes for piece in pieces))
        try:
            folder_sync = self._folder_sync_for(key, volatile)
            _write_all(temporary, pieces, fsync=folder_sync is not None)
            _move(temporary, path, folder_sync)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise _translate(error, self._temporary) from error

    def upload(self, key: str, *, volatile: bool = False) -> LocalUpload:
        folder_sync = self._folder_sync_for(key, volatile)
        return LocalUpload(self._path(key), self._temporary_path(), self._check_room, folder_sync)

    def get(self, key: str) -> bytes:
        with _translated(), _found(key), open(self._path(key), "rb", buffering=0) as file:
            return file.read()

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with _translated(), _found(key):
            file = open(self._path(key), "rb", buffering=0)  # noqa: SIM115 (closed by the generator)
        pieces = _pieces(file, start, end)
        next(pieces)  # from here on, the generator closes the file, however it ends
        return pieces

    def size(self, key: str) -> int | None:
        with suppress(ObjectNotFoundError), _translated(), _found(key):
            return os.stat(self._path(key)).st_size
        return None

    def list(self, prefix: str) -> Iterator[str]:
        top = self._path(prefix)
        pending = [top]
        while pending:
            with suppress(ObjectNotFoundError), _translated(), _found(prefix), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        yield f"{prefix}/{os.path.relpath(entry.path, top)}"

    def children(self, prefix: str) -> Iterator[str]:
        names: Sequence[str] = ()
        with suppress(ObjectNotFoundError), _translated(), _found(prefix), os.scandir(self._path(prefix)) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        yield from names

    def delete(self, *keys: str) -> None:
        with _translated():
            for key in keys:
                _unlink(self._path(key))

    def delete_prefix(self, prefix: str) -> None:
        with _translated():
            _remove_folder(self._path(prefix))

    def check(self) -> None:
        path = self._temporary_path()
        self._check_room(_SMALL_BYTES + 1)
        with _translated(self._temporary):
            _write_all(path, [b"ok"])
            os.unlink(path)

    def room(self) -> Room:
        with _translated():
            return measure_room(self._temporary, self._reserve_bytes)

    def remove_temporary_files(self) -> None:
        """Remove temporary files of writers that have died. Only while nothing is written."""
        with _translated():
            shutil.rmtree(self._temporary, ignore_errors=True)
            os.makedirs(self._temporary, exist_ok=True)

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self.root}/{key}"

    def _check_room(self, size_bytes: int) -> None:
        if self._reserve_bytes and size_bytes > _SMALL_BYTES:
            self.room().check_write("store", size_bytes)

    def _folder_sync_for(self, key: str, volatile: bool) -> FolderSync | None:
        """Return what writes the object's folder to the disk; None if the object may be lost."""
        return self._folder_sync if key.partition("/")[0] in DURABLE and not volatile else None

    def _temporary_path(self) -> str:
        return f"{self._temporary}/{os.getpid()}-{threading.get_ident()}-{next(self._unique)}"


class LocalUpload:
    """A temporary file; `commit` renames it. `check_room` is called before bytes are written, with their number.

    With `folder_sync`, its bytes are on the disk before it is renamed, and its name after that.
    """

    def __init__(
        self, path: str, temporary: str, check_room: Callable[[int], None], folder_sync: FolderSync | None
    ) -> None:
        self._path = path
        self._temporary = temporary
        self._check_room = check_room
        self._folder_sync = folder_sync
        self._size = 0
        with _translated():
            self._file = open(temporary, "wb", buffering=0)  # noqa: SIM115 (closed by commit or abort)

    def write(self, data: Buffer) -> None:
        view = memoryview(data)
        self._check_room(view.nbytes)
        with _translated(os.path.dirname(self._temporary)):
            while view:
                written = self._file.write(view)
                self._size += written
                view = view[written:]

    def commit(self) -> int:
        with _translated():
            if self._folder_sync is not None and not self._file.closed:
                os.fsync(self._file.fileno())
            self._file.close()
            _move(self._temporary, self._path, self._folder_sync)
        return self._size

    def abort(self) -> None:
        with _translated():
            self._file.close()
            _unlink(self._temporary)


def _pieces(file: FileIO, start: int, end: int | None) -> Iterator[bytes]:
    offset = start
    try:
        yield b""
        while end is None or offset < end:
            with _translated():
                piece = os.pread(file.fileno(), _PIECE if end is None else min(_PIECE, end - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece
    finally:
        file.close()


def _write_all(path: str, pieces: Sequence[Buffer], *, fsync: bool = False) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        views = [memoryview(piece).cast("B") for piece in pieces]
        while views:
            written = os.writev(descriptor, views[:_MAX_VECTOR])
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]
        if fsync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(source: str, target: str, folder_sync: FolderSync | None) -> None:
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            os.replace(source, target)
            break
        except FileNotFoundError:  # the folder is new, or another thread deleted it
            if not attempts_left:
                raise
            with suppress(FileNotFoundError, FileExistsError):  # it was deleted again
                os.makedirs(os.path.dirname(target), exist_ok=True)
    if folder_sync is not None:
        with suppress(FileNotFoundError):  # deleted with the object
            folder_sync.sync(os.path.dirname(target))


def _remove_folder(path: str) -> None:
    """Delete a folder, even if others write to it or delete it at the same time."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
        try:
            shutil.rmtree(path)
        except OSError as error:
            if not attempts_left or error.errno not in _OF_OTHERS:
                raise


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def measure_room(folder: str | Path, reserve_bytes: int) -> Room:
    """Return the free bytes of a folder's volume. The reserve is `reserve_bytes`, at most a twentieth of the volume.

    Raises:
        OSError: the folder is missing or cannot be read.
    """
    volume = os.statvfs(folder)
    reserve_bytes = min(reserve_bytes, volume.f_blocks * volume.f_frsize // _RESERVE_SHARE)
    return Room(volume.f_bavail * volume.f_frsize, reserve_bytes)


@contextmanager
def _translated(folder: str | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _translate(error, folder) from error


def _translate(error: OSError, folder: str | None = None) -> UnavailableError:
    """Translate an error to that of the port; `folder` is on the volume that may be full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free_bytes = None
        with suppress(OSError):
            free_bytes = measure_room(folder, 0).free_bytes if folder else None
        return FullError("store", free_bytes)
    message = f"the store cannot be used: {error.strerror}"
    if error.errno in _OF_ONE_OBJECT:
        return ObjectFailedError("store", message)
    return UnavailableError("store", message, waiting_for=f"store ({error.strerror})")


@contextmanager
def _found(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectNotFoundError(key) from error

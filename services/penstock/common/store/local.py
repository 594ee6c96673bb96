"""Local store: objects as files in a folder of this host, each written with one rename."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import count
from pathlib import Path

from penstock.common.model.errors import UnavailableError
from penstock.common.store.base import Buffer, ObjectNotFoundError
from penstock.common.store.keys import TEMPORARY, check_key

_PIECE = 1024 * 1024
_MAX_VECTOR = 1024


class LocalStore:
    """Objects as files below `root`, which processes and threads may share."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._temporary = str(self.root / TEMPORARY)
        self._unique = count()
        with _translated():
            os.makedirs(self._temporary, exist_ok=True)

    def put(self, key: str, pieces: Sequence[Buffer]) -> None:
        path = self._path(key)
        temporary = self._temporary_path()
        try:
            _write_all(temporary, pieces)
            _move(temporary, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise _translate(error) from error

    def upload(self, key: str) -> LocalUpload:
        return LocalUpload(self._path(key), self._temporary_path())

    def get(self, key: str) -> bytes:
        with _translated(), _found(key), open(self._path(key), "rb", buffering=0) as file:
            return file.read()

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with _translated(), _found(key):
            file = open(self._path(key), "rb", buffering=0)  # noqa: SIM115 (closed by the generator)
        return _pieces(file, start, end)

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

    def delete(self, key: str) -> None:
        with _translated():
            _unlink(self._path(key))

    def delete_prefix(self, prefix: str) -> None:
        with _translated(), suppress(FileNotFoundError):
            shutil.rmtree(self._path(prefix))

    def check(self) -> None:
        path = self._temporary_path()
        with _translated():
            _write_all(path, [b"ok"])
            os.unlink(path)

    def remove_temporary_files(self) -> None:
        """Remove temporary files of writers that have died. Only while nothing is written."""
        with _translated():
            shutil.rmtree(self._temporary, ignore_errors=True)
            os.makedirs(self._temporary, exist_ok=True)

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self.root}/{key}"

    def _temporary_path(self) -> str:
        return f"{self._temporary}/{os.getpid()}-{threading.get_ident()}-{next(self._unique)}"


class LocalUpload:
    """A temporary file; `commit` renames it."""

    def __init__(self, path: str, temporary: str) -> None:
        self._path = path
        self._temporary = temporary
        self._size = 0
        with _translated():
            self._file = open(temporary, "wb", buffering=0)  # noqa: SIM115 (closed by commit or abort)

    def write(self, data: Buffer) -> None:
        view = memoryview(data)
        with _translated():
            while view:
                written = self._file.write(view)
                self._size += written
                view = view[written:]

    def commit(self) -> int:
        with _translated():
            self._file.close()
            _move(self._temporary, self._path)
        return self._size

    def abort(self) -> None:
        with _translated():
            self._file.close()
            _unlink(self._temporary)


def _pieces(file: FileIO, start: int, end: int | None) -> Iterator[bytes]:
    offset = start
    try:
        while end is None or offset < end:
            with _translated():
                piece = os.pread(file.fileno(), _PIECE if end is None else min(_PIECE, end - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece
    finally:
        file.close()


def _write_all(path: str, pieces: Sequence[Buffer]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        views = [memoryview(piece).cast("B") for piece in pieces]
        while views:
            written = os.writev(descriptor, views[:_MAX_VECTOR])
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]
    finally:
        os.close(descriptor)


def _move(source: str, target: str) -> None:
    try:
        os.replace(source, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(source, target)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _translate(error) from error


def _translate(error: OSError) -> UnavailableError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UnavailableError("store", "the store is full", retry_after_secs=60)
    return UnavailableError("store", f"the store cannot be used: {error.strerror}")


@contextmanager
def _found(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectNotFoundError(key) from error

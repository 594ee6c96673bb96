"""Results folder: gives finished results their names in a run's folder, and never takes a name that is not free.

Names may come from an edited or foreign manifest, so each is looked up folder by folder beneath the results folder,
without following links. Results wait in a work folder inside, and get their names by `link(2)`, which fails if there is
a file already.
"""

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from penstock.common.files import NO_SPACE, name_new, open_folder_below
from penstock.common.model.errors import PenstockError, StartupError, UnavailableError
from penstock.common.store.keys import TEMPORARY

WORK_FOLDER = ".penstock"
MANIFEST = "manifest.ndjson"

_WAITING = f"{WORK_FOLDER}/results"
"""Where results wait for their names, as the store calls them."""
_OWN = frozenset({TEMPORARY, "results", "work", "resume", "cancelled", "plans", "uploads", "manifest.new"})
_CHAIN = "chain-"


class NameTakenError(PenstockError):
    """A result cannot have its name, because something that no run made is there, or a link on the way."""

    def __init__(self, message: str) -> None:
        super().__init__("result_exists", message)


class NoSpaceError(PenstockError):
    """The disk with the results is full, or a quota is used up."""

    exit_code = 3

    def __init__(self, folder: Path) -> None:
        super().__init__("no_space", f"no space left in {folder}")


def is_relative_name(name: str) -> bool:
    """Return whether a name is a path beneath the results folder that a result can have."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") or "\0" in part for part in parts) and (
        parts[0] != WORK_FOLDER and name != MANIFEST
    )


class _Parent:
    """The context of the folder of a name below `root`: its descriptor, and the last part of the name.

    Entering it raises OSError if a part of the path is missing, a link or no folder. It is no generator, because those
    take three times as long, and each result enters three of these.
    """

    __slots__ = ("_create", "_name", "_opened", "_root")

    def __init__(self, root: int, name: str, create: bool) -> None:
        self._root = root
        self._name = name
        self._create = create
        self._opened: int | None = None

    def __enter__(self) -> tuple[int, str]:
        *folders, last = self._name.split("/")
        if not folders:
            return self._root, last
        self._opened = open_folder_below(os.dup(self._root), folders, create=self._create)
        return self._opened, last

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            os.close(self._opened)


class ResultsFolder:
    """The folder for results, locked against other runs until `close`.

    Raises:
        StartupError: it is locked by another run, cannot be used, or its work folder holds other files.
        NoSpaceError: it is on a full disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / WORK_FOLDER
        with _startup_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            self._root = _lock(path)
            try:
                self._prepare()
                self._waiting = open_folder_below(os.dup(self._root), _WAITING.split("/"))
            except BaseException:
                os.close(self._root)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, not even a manifest."""
        return os.listdir(self._root) == [WORK_FOLDER]

    def close(self) -> None:
        """Remove the work folder and unlock the folder."""
        shutil.rmtree(self.work, ignore_errors=True)
        os.close(self._waiting)
        os.close(self._root)

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of what has a name, links not followed; None if the name is free or cannot be had."""
        with suppress(OSError), self._parent(name) as (folder, last):
            return os.stat(last, dir_fd=folder, follow_symlinks=False)
        return None

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of a regular file in hex; None if it cannot be read."""
        with suppress(OSError), self._parent(name) as (folder, last):
            descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with open(descriptor, "rb") as file:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return hashlib.file_digest(file, "sha256").hexdigest()
        return None

    def publish(self, name: str, is_result: Callable[[str], bool]) -> os.stat_result:
        """Give a waiting result its name, and return its status; until `settle`, it can be told from other files.

        `is_result` returns whether what has a name is an earlier result, which is replaced.

        Raises:
            NameTakenError: something else has the name, or a part of its path is a link.
            NoSpaceError: there is no room for a folder or a name.
        """
        try:
            with self._parent(name, self._waiting) as (source, last), self._parent(name, create=True) as (folder, _):
                status = os.stat(last, dir_fd=source, follow_symlinks=False)
                try:
                    name_new(last, last, source_folder=source, target_folder=folder)
                except FileExistsError:
                    if not is_result(name):
                        raise
                    os.rename(last, last, src_dir_fd=source, dst_dir_fd=folder)
                return status
        except FileExistsError as error:
            raise NameTakenError(f"{self.path / name} is there already, and is no result of an earlier run") from error
        except (NotADirectoryError, IsADirectoryError) as error:
            raise NameTakenError(f"a folder of {self.path / name} is a file or a link") from error
        except OSError as error:
            raise self.translate(error, name) from error

    def settle(self, name: str) -> None:
        """Remove a waiting result: the manifest lists its other name, or its image has failed."""
        with suppress(OSError):
            self._unlink(name, self._waiting)

    def withdraw(self, name: str) -> None:
        """Take the name from a published result that the manifest does not list."""
        with suppress(OSError):
            self._unlink(name)

    def remove(self, name: str) -> None:
        """Remove a result, and the folders that are empty then."""
        with suppress(OSError):
            self._unlink(name)
            while "/" in name:
                name = name.rpartition("/")[0]
                with self._parent(name) as (folder, last):
                    os.rmdir(last, dir_fd=folder)

    def translate(self, error: OSError, name: str) -> PenstockError:
        """Return the error that a run ends with."""
        if error.errno in NO_SPACE:
            return NoSpaceError(self.path)
        return UnavailableError(
            "store", f"cannot write {self.path / name}: {error.strerror}; finished results are kept"
        )

    def _parent(self, name: str, root: int | None = None, *, create: bool = False) -> _Parent:
        """Return the folder of a name below `root` or the results folder."""
        return _Parent(self._root if root is None else root, name, create)

    def _unlink(self, name: str, root: int | None = None) -> None:
        with self._parent(name, root) as (folder, last):
            os.unlink(last, dir_fd=folder)

    def _prepare(self) -> None:
        """Empty the work folder that a killed run left, and take back the names of results that no manifest lists."""
        try:
            entries = os.listdir(self.work)
        except FileNotFoundError:
            entries = []
        if self.work.is_symlink() or not all(entry in _OWN or entry.startswith(_CHAIN) for entry in entries):
            message = f"{self.work} holds files that no run made; move them, or choose another --out"
            raise StartupError("data_unusable", message)
        waiting = os.fspath(self.path / _WAITING)
        for folder, _, files in os.walk(waiting):
            for file in files:
                self._take_back(os.path.relpath(os.path.join(folder, file), waiting))
        shutil.rmtree(self.work, ignore_errors=True)
        for below in (self.work / TEMPORARY, self.path / _WAITING):
            below.mkdir(parents=True, exist_ok=True)

    def _take_back(self, name: str) -> None:
        status, waiting = self.status(name), self.status(f"{_WAITING}/{name}")
        if status and waiting and (status.st_dev, status.st_ino) == (waiting.st_dev, waiting.st_ino):
            self.withdraw(name)


@contextmanager
def _startup_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise NoSpaceError(path) from error
        message = f"cannot use {path}: {error.strerror}; choose another --out"
        raise StartupError("data_unusable", message) from error


def _lock(folder: Path) -> int:
    """Lock a folder against other runs; return the descriptor that holds the lock until it is closed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StartupError(
            "data_in_use", f"another run is writing to {folder}; wait for it, or choose another --out"
        ) from error
    return descriptor

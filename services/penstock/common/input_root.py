"""Input root: the folder below which jobs may name files, and how its files are opened.

A path is resolved once. Then each folder on it is opened in the one before, without following links, so that a link
that is swapped in meanwhile leads nowhere. What is read is the file that was opened and checked.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from penstock.common.files import open_folder_below
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.settings import SettingsError

DATABASE = "penstock.sqlite"
"""The name of a database in a data folder."""

# Search permission is enough for a folder on the way, where the system can open one without reading it.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True)
class InputRoot:
    """A folder below which jobs may name files, except hidden ones, and `private` ones or those in `private` folders.

    Private are the data folder and the store, with the secrets and files of all callers, the file of API keys, and
    every other folder that has a database of Penstock. They are known by device and inode, hence also behind links and
    mounts.
    """

    path: Path
    private: tuple[Path, ...] = ()
    is_own: bool = False
    """Whether files anywhere on this host may be named, because a user runs this process for themselves."""

    def resolve(self) -> Path:
        """Return the folder without links."""
        return self.path.resolve()

    def is_private_folder(self, folder: Path | int) -> bool:
        """Return whether a folder, given as a path or an open descriptor, is private itself."""
        return _identity(folder) in self._private_identities() or _has_database(folder)

    def is_private(self, path: Path) -> bool:
        """Return whether a path without links below this folder is private, or in a private folder."""
        root, private = self.resolve(), self._private_identities()
        below = (each for each in (path, *path.parents) if each.is_relative_to(root))
        return any(_identity(each) in private or _has_database(each) for each in below)

    @contextmanager
    def open(self, path: bytes) -> Iterator[tuple[FileIO, os.stat_result]]:
        """Open a regular file; yields it and its status.

        Raises:
            ImageError: source_not_found or source_forbidden, also if reading fails.
        """
        if self.is_own:
            with open_regular_file(path) as opened:
                yield opened
            return
        root, check_folder = os.fsencode(os.path.realpath(self.path)), self._folder_check()
        with open_beneath(path, root, _refuse_hidden, check_folder) as opened:
            check_folder(opened[0].fileno())  # a file may be private itself
            yield opened

    @contextmanager
    def open_folder(self, path: str) -> Iterator[int]:
        """Open a folder to list it; yields its descriptor. Raises OSError, also if it is outside or private.

        Where it really is is taken from the descriptor: deep folders would take long to open one by one.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not self._may_list(descriptor, real_path(descriptor, os.fsencode(path))):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            yield descriptor
        finally:
            os.close(descriptor)

    def _may_list(self, descriptor: int, real: bytes) -> bool:
        root, *private = (os.fsencode(os.path.realpath(each)) for each in (self.path, *self.private))
        if real != root and not is_below(real, root):
            return False
        is_hidden = any(name.startswith(b".") for name in real[len(root) :].split(b"/"))
        is_in_private = any(is_below(each, root) and is_below(real, each) for each in private)
        return not (is_hidden or is_in_private or self.is_private_folder(descriptor))

    def _folder_check(self) -> Callable[[int], None]:
        private = self._private_identities()

        def check(descriptor: int) -> None:
            if _identity(descriptor) in private or _has_database(descriptor):  # False for a file
                message = "the file is the server's own data, which is never an input"
                raise ImageError(ImageCode.SOURCE_FORBIDDEN, message)

        return check

    def _private_identities(self) -> set[tuple[int, int]]:
        return {identity for folder in self.private if (identity := _identity(folder)) is not None}


WHOLE_HOST = InputRoot(Path("/"), is_own=True)
"""For commands that read files as the user who runs them."""


def input_root(
    path: Path | None, *, data: Path | None = None, store: Path | None = None, keys: Path | None = None
) -> InputRoot | None:
    """Return the root of a server whose data folder, store's folder and file of API keys are private.

    None if it has none.

    Raises:
        SettingsError: the root is the data folder itself, or in the store.
    """
    if path is None:
        return None
    root = InputRoot(path, tuple(folder.absolute() for folder in (data, store, keys) if folder is not None))
    real = root.resolve()
    is_in_store = store is not None and store.exists() and _identity(store) in map(_identity, real.parents)
    if is_in_store or root.is_private_folder(real):
        message = f"PENSTOCK_INPUT_ROOT={path}: this is the server's own data; accepted is a folder without it"
        raise SettingsError("invalid_settings", message)
    return root


@contextmanager
def open_regular_file(path: bytes) -> Iterator[tuple[FileIO, os.stat_result]]:
    """Open a regular file anywhere, without waiting for the other end of a pipe; yields it and its status.

    Raises:
        ImageError: source_not_found or source_forbidden, also if reading fails.
    """
    with _translated(), _regular_file(os.open(path, _FILE)) as opened:
        yield opened


@contextmanager
def open_beneath(
    path: bytes,
    root: bytes,
    check_name: Callable[[bytes], None] = lambda _: None,
    check_folder: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[FileIO, os.stat_result]]:
    """Open a regular file below `root`, a folder without links; yields it and its status.

    `check_name` gets each name below the root, `check_folder` the descriptor of each folder, the root included. Both
    raise to refuse it.

    Raises:
        ImageError: source_not_found or source_forbidden, also if reading fails.
    """
    with _translated(), _regular_file(_open_beneath(path, root, check_name, check_folder)) as opened:
        yield opened


def _open_beneath(
    path: bytes, root: bytes, check_name: Callable[[bytes], None], check_folder: Callable[[int], None]
) -> int:
    real = os.path.realpath(path)
    if not is_below(real, root):
        raise ImageError(ImageCode.SOURCE_FORBIDDEN, "the file is outside the folder allowed for inputs")
    *folders, name = real[len(root) :].strip(b"/").split(b"/")
    for each in (*folders, name):
        check_name(each)
    folder = open_folder_below(os.open(root, _FOLDER), folders, _FOLDER, check=check_folder)
    try:
        return os.open(name, _FILE | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


@contextmanager
def _regular_file(descriptor: int) -> Iterator[tuple[FileIO, os.stat_result]]:
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(ImageCode.SOURCE_NOT_FOUND, "it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(ImageCode.SOURCE_NOT_FOUND, "not a regular file")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            yield file, status
    finally:
        os.close(descriptor)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(ImageCode.SOURCE_NOT_FOUND, "the file does not exist") from error
    except OSError as error:
        raise ImageError(ImageCode.SOURCE_FORBIDDEN, f"the file cannot be read: {error.strerror}") from error


def real_path(descriptor: int, path: bytes) -> bytes:
    """Return the path of an open file without links. Taken from the file, so a changed link cannot mislead."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)
    except FileNotFoundError:  # no /proc on this system
        return os.path.realpath(path)


def is_below(path: bytes, root: bytes) -> bool:
    """Return whether a path without links is below another."""
    return path.startswith(root if root.endswith(b"/") else root + b"/")


def _refuse_hidden(name: bytes) -> None:
    if name.startswith(b"."):
        raise ImageError(ImageCode.SOURCE_FORBIDDEN, "the file is hidden")


def _identity(folder: Path | int) -> tuple[int, int] | None:
    """Return the device and inode of a folder; None if there is none."""
    try:
        status = os.stat(folder)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _has_database(folder: Path | int) -> bool:
    if isinstance(folder, int):
        return os.access(DATABASE, os.F_OK, dir_fd=folder)
    return os.access(folder / DATABASE, os.F_OK)

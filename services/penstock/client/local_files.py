"""Files of this host: pictures to send, and results to save where no server can choose the place."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple, NoReturn

from penstock.client.errors import DamagedError, LocalFileError
from penstock.common.image_header import HEAD_BYTES, image_type
from penstock.common.model.names import without_suffix

PIECE_BYTES = 256 * 1024
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")


class Photo(NamedTuple):
    """A file to send: where it is (`root/relative`), and the size and time of change that it was found with."""

    root: str
    relative: str
    size_bytes: int
    mtime_ns: int

    @property
    def path(self) -> str:
        """Where it is."""
        return os.path.join(self.root, self.relative)

    @property
    def name(self) -> str:
        """What the server shall call it."""
        return "/".join(map(_sendable, self.relative.split(os.sep)))

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes.

        Raises:
            LocalFileError: it cannot be read, or has another size than when it was found.
        """
        left = self.size_bytes
        with _readable(self.path) as file:
            while piece := file.read(PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            raise LocalFileError(f"{self.path} changed while it was sent; send it again once it is finished")

    def digest(self) -> bytes:
        """Return its SHA-256; errors as `pieces`."""
        sha256 = hashlib.sha256()
        for piece in self.pieces():
            sha256.update(piece)
        return sha256.digest()


Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Files, folders and globs; or one of them."""


def find_photos(paths: Paths) -> list[Photo]:
    """Return the files, and the pictures in folders and below, each once; names are relative to what holds all.

    Passed over in folders: hidden files, links, and what is no picture by its name or first bytes.

    Raises:
        LocalFileError: a path or glob that leads to nothing, or a folder that cannot be read.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    found = {os.path.abspath(item) for path in given for item in _expand(os.fspath(path))}
    folders = {item for item in found if os.path.isdir(item)}
    files = found - folders
    if not found:
        return []
    root = os.path.commonpath([*folders, *map(os.path.dirname, files)])
    listed = {*files, *(path for folder in folders for path in _walk(folder))}
    return sorted(_photo(root, path) for path in listed)


def _expand(path: str) -> list[str]:
    if os.path.exists(path):
        return [path]
    found = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else []
    if not found:
        raise LocalFileError(f"{path}: no such file or folder, and no glob that matches any")
    return found


def _walk(folder: str) -> Iterator[str]:
    for below, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = os.path.join(below, name)
            if not name.startswith(".") and _is_file(path) and _is_picture(path):
                yield path


def _refuse(error: OSError) -> NoReturn:
    """Leave out no folder silently."""
    raise LocalFileError(f"{error.filename}: {error.strerror}") from error


def _is_file(path: str) -> bool:
    """Whether it is a file, no link to one, and no pipe, which would be waited for."""
    return os.path.isfile(path) and not os.path.islink(path)


def _is_picture(path: str) -> bool:
    if path.lower().endswith(_PICTURE_SUFFIXES):
        return True
    try:
        with open(path, "rb", buffering=0) as file:
            return image_type(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _photo(root: str, path: str) -> Photo:
    try:
        status = os.stat(path)
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from error
    return Photo(root, os.path.relpath(path, root), status.st_size, status.st_mtime_ns)


@contextmanager
def _readable(path: str) -> Iterator[FileIO]:
    try:
        with open(path, "rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from error


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFileError(f"{path} cannot be written: {error.strerror}") from error


def _sendable(name: str) -> str:
    """Return a file's or folder's name as servers take it; one that had to be changed ends in a digest."""
    raw = os.fsencode(name)
    text = raw.decode("utf-8", "replace")
    clean = "".join("_" if letter == "\\" or unicodedata.category(letter) == "Cc" else letter for letter in text)
    if clean == name:
        return name
    stem = without_suffix(clean)
    return f"{stem}~{hashlib.sha256(raw).hexdigest()[:8]}{clean[len(stem) :]}"


def target_path(folder: Path, name: str) -> Path:
    """Return where a result of that name goes.

    Raises:
        LocalFileError: the name could lead out of the folder.
    """
    parts = name.split("/")
    foreign = r"[\x00-\x1f\x7f-\x9f\\:]" if os.name == "nt" else r"[\x00-\x1f\x7f-\x9f]"
    if any(part in ("", ".", "..") or re.search(foreign, part) for part in parts):
        raise LocalFileError(f"the server names a result {name[:80]!a}, which could lead out of {folder}")
    target = folder.joinpath(*parts)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise LocalFileError(f"{target} would be written elsewhere: a link leads out of {folder}")
    return target


def is_saved(target: Path, size_bytes: int, sha256: str) -> bool:
    """Whether a file is there already, with these bytes."""
    try:
        if target.is_symlink() or target.stat().st_size != size_bytes:
            return False
        with open(target, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def remove_unfinished(folder: Path) -> None:
    """Remove what this process was writing below a folder when it was interrupted."""
    for path in folder.rglob(f".{os.getpid():x}-*.part"):
        path.unlink(missing_ok=True)


class Saving:
    """A file being written beside its place, which it takes once all bytes are there and have the right checksum."""

    def __init__(self, target: Path, sha256: str) -> None:
        self._target = target
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._temporary = target.with_name(f".{os.getpid():x}-{id(self):x}.part")
        with _writable(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "wb", buffering=0)  # noqa: SIM115 (closed by finish or abort)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        view = memoryview(data)
        with _writable(self._target):
            while view:
                view = view[self._file.write(view) :]

    def finish(self) -> None:
        """Put the file in its place.

        Raises:
            DamagedError: these are other bytes than the manifest says.
        """
        self._file.close()
        if self._digest.hexdigest() != self._sha256:
            raise DamagedError(f"{self._target.name} came with other bytes than its checksum says")
        with _writable(self._target):
            os.replace(self._temporary, self._target)

    def abort(self) -> None:
        """Remove what was written."""
        self._file.close()
        with suppress(OSError):
            os.unlink(self._temporary)

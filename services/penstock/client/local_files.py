"""Local files: images to upload, and results to save in a folder that no name from a server can escape."""

import glob
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from penstock.client.errors import DamagedError, LocalFileError
from penstock.common.image_header import is_image_file
from penstock.common.model.names import without_suffix
from penstock.common.sidecars import SUFFIX, described_name, find_sidecar, sidecar_names

CONCURRENT_FILES = 4
"""Files that are uploaded or downloaded at the same time."""
READ_BYTES = 256 * 1024


class Photo(NamedTuple):
    """A file to upload: its path `root/relative`, and the size and modification time that it was found with."""

    root: str
    relative: str
    size_bytes: int
    mtime_ns: int

    @property
    def path(self) -> str:
        """Its path."""
        return os.path.join(self.root, self.relative)

    @property
    def name(self) -> str:
        """Its name on the server."""
        return "/".join(map(_valid_name, self.relative.split(os.sep)))

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield its content in blocks.

        Raises:
            LocalFileError: it cannot be read, or its size has changed.
        """
        left = self.size_bytes
        with _local_errors(self.path), open(self.path, "rb", buffering=0) as file:
            while data := file.read(READ_BYTES):
                left -= len(data)
                if left < 0:
                    break
                yield data
        if left:
            raise LocalFileError(f"{self.path} changed during the upload; upload it again when it is complete")

    def digest(self) -> bytes:
        """Return its SHA-256; raises the errors of `iter_bytes`."""
        sha256 = hashlib.sha256()
        for data in self.iter_bytes():
            sha256.update(data)
        return sha256.digest()


Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Files, folders and globs, or one of them."""


def find_photos(paths: Paths) -> list[Photo]:
    """Return files, and the images in folders and subfolders, each once, named relative to their common folder.

    Sidecars beside images are included. Hidden files, links, and files that are no images by name or first bytes are
    skipped in folders.

    Raises:
        LocalFileError: a path or glob that matches nothing, or a folder that cannot be read.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    found = {os.path.abspath(item) for path in given for item in _expand(os.fspath(path))}
    folders = {item for item in found if os.path.isdir(item)}
    files = found - folders
    if not found:
        return []
    root = os.path.commonpath([*folders, *map(os.path.dirname, files)])
    listed = {*files, *(path for file in files for path in _sidecars_beside(file))}
    listed.update(path for folder in folders for path in _walk(folder))
    return sorted(_stat_file(root, path) for path in listed)


def _expand(path: str) -> list[str]:
    if os.path.exists(path):
        return [path]
    found = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else []
    if not found:
        raise LocalFileError(f"{path}: no such file or folder, and no glob that matches one")
    return found


def _sidecars_beside(file: str) -> Iterator[str]:
    folder, name = os.path.split(file)
    beside = (os.path.join(folder, each) for each in sidecar_names(name))
    return filter(_is_file, beside)


def _walk(folder: str) -> Iterator[str]:
    for below, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        sidecars = {described: name for name in names if (described := described_name(name))}
        for name in names:
            path = os.path.join(below, name)
            if not name.startswith(".") and _is_file(path) and is_image_file(path, if_unreadable=False):
                yield path
                sidecar = find_sidecar(name, sidecars)
                if sidecar and _is_file(os.path.join(below, sidecar)):
                    yield os.path.join(below, sidecar)


def _raise(error: OSError) -> NoReturn:
    """Report a folder that cannot be read, which os.walk would skip."""
    raise LocalFileError(f"{error.filename}: {error.strerror}") from error


def _is_file(path: str) -> bool:
    """Whether it is a regular file: neither a link, nor a pipe, which reading would wait for."""
    return os.path.isfile(path) and not os.path.islink(path)


def _stat_file(root: str, path: str) -> Photo:
    with _local_errors(path):
        status = os.stat(path)
    return Photo(root, os.path.relpath(path, root), status.st_size, status.st_mtime_ns)


@contextmanager
def _local_errors(what: str) -> Iterator[None]:
    """Raise errors of the system as LocalFileError."""
    try:
        yield
    except OSError as error:
        raise LocalFileError(f"{what}: {error.strerror}") from error


def _valid_name(name: str) -> str:
    """Return a name that the server accepts; one that had to be changed gets a digest of the original."""
    raw = os.fsencode(name)
    text = raw.decode("utf-8", "replace")
    clean = "".join("_" if letter == "\\" or unicodedata.category(letter) == "Cc" else letter for letter in text)
    if clean == name:
        return name
    described = described_name(name)
    if described is not None:
        return _valid_name(described) + SUFFIX
    stem = without_suffix(clean)
    return f"{stem}~{hashlib.sha256(raw).hexdigest()[:8]}{clean[len(stem) :]}"


def target_path(folder: Path, name: str) -> Path:
    """Return the path of a result in a folder.

    Raises:
        LocalFileError: the name could lead out of the folder.
    """
    parts = name.split("/")
    forbidden = r"[\x00-\x1f\x7f-\x9f\\:]" if os.name == "nt" else r"[\x00-\x1f\x7f-\x9f]"
    if any(part in ("", ".", "..") or re.search(forbidden, part) for part in parts):
        raise LocalFileError(f"the server's name for a result, {name[:80]!a}, could lead out of {folder}")
    target = folder.joinpath(*parts)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise LocalFileError(f"{target} would not be written there: a link leads out of {folder}")
    return target


def is_saved(target: Path, size_bytes: int, sha256: str) -> bool:
    """Whether a file exists with this size and checksum."""
    try:
        if target.is_symlink() or target.stat().st_size != size_bytes:
            return False
        with open(target, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def remove_partial_files(folder: Path) -> None:
    """Remove the files below a folder that this process has not finished writing."""
    for path in folder.rglob(f".{os.getpid():x}-*.part"):
        path.unlink(missing_ok=True)


class AtomicFile:
    """A file that is written under a temporary name, and renamed when it is complete and matches its checksum."""

    def __init__(self, target: Path, sha256: str) -> None:
        self._target = target
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._temporary = target.with_name(f".{os.getpid():x}-{id(self):x}.part")
        with _local_errors(f"{target} cannot be written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "wb", buffering=0)  # noqa: SIM115 (closed by commit or abort)

    def write(self, data: bytes) -> None:
        """Append data."""
        self._digest.update(data)
        view = memoryview(data)
        with _local_errors(f"{self._target} cannot be written"):
            while view:
                view = view[self._file.write(view) :]

    def commit(self) -> None:
        """Give the file its name.

        Raises:
            DamagedError: it does not match its checksum.
        """
        self._file.close()
        if self._digest.hexdigest() != self._sha256:
            raise DamagedError(f"{self._target.name} does not match its checksum after the download")
        with _local_errors(f"{self._target} cannot be written"):
            os.replace(self._temporary, self._target)

    def abort(self) -> None:
        """Remove the file, unless it was committed."""
        self._file.close()
        with suppress(OSError):
            os.unlink(self._temporary)

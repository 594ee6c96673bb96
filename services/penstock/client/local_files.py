"""Local files: images to upload, and results to save in a folder that no name from a server can escape."""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from penstock.client.errors import DamagedError, LocalFileError, NoSpaceError
from penstock.common.files import NO_SPACE, name_new
from penstock.common.folders import FolderError, FolderRules, Found, FoundImage, GivenPaths, expand
from penstock.common.image_header import HEAD_BYTES, TYPES, ImageType, describe_type, image_type
from penstock.common.sidecars import SUFFIX

CONCURRENT_FILES = 4
"""Files that are uploaded or downloaded at the same time."""
READ_BYTES = 256 * 1024


class Photo(NamedTuple):
    """A file to upload: its name on the server, its path, and the size and modification time that it was found with."""

    name: str
    path: str
    size_bytes: int
    mtime_ns: int

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

    def describe_type(self) -> tuple[str | None, str]:
        """Return its type by its first bytes, and what people call it; None if it is no image, or can't be read."""
        with suppress(OSError), open(self.path, "rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
            return image_type(head), describe_type(head)
        return None, "unreadable"

    def digest(self) -> bytes:
        """Return its SHA-256; raises the errors of `iter_bytes`."""
        sha256 = hashlib.sha256()
        for data in self.iter_bytes():
            sha256.update(data)
        return sha256.digest()


Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Files, folders and globs, or one of them."""


def find_photos(
    paths: Paths,
    on_skipped: Callable[[str, str], object] = lambda _name, _reason: None,
    types: Collection[ImageType] = TYPES,
) -> list[Photo]:
    """Return files, and the images in folders and subfolders, each once, named relative to their common folder.

    Sidecars beside images are included, and links are followed. Hidden files are skipped in folders. So are files that
    are no images of these types by suffix or first bytes, and links to nothing or to a folder that they are in;
    `on_skipped` is called with their names and what they are, which completes "… is …".

    Raises:
        LocalFileError: a path or glob that matches nothing, or a folder that cannot be read.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    found = {os.path.abspath(item) for path in given for item in _expand(os.fspath(path))}
    if not found:
        return []
    rules = FolderRules(lambda skipped, reason: on_skipped(skipped.name, reason), _raise, types=types)
    groups = GivenPaths(found).images(rules, if_unreadable=False)
    return sorted({file.path: _stat_file(file) for images in groups for file in _with_sidecars(images)}.values())


def _expand(path: str) -> Sequence[str]:
    found = expand(path)
    if not found:
        raise LocalFileError(f"{path}: no such file or folder, and no glob that matches one")
    return found


def _with_sidecars(images: Iterable[FoundImage]) -> Iterator[Found]:
    """Yield images and their sidecars; the sidecar of an image that was renamed is named like the image."""
    for file, sidecar in images:
        yield file
        if sidecar is not None:
            renamed = file.name.rpartition("/")[2] != os.path.basename(file.path)
            yield Found(sidecar.path, file.name + SUFFIX) if renamed else sidecar


def _raise(error: FolderError) -> NoReturn:
    raise LocalFileError(str(error)) from error


def _stat_file(file: Found) -> Photo:
    with _local_errors(file.path):
        status = os.stat(file.path)
    return Photo(file.name, file.path, status.st_size, status.st_mtime_ns)


@contextmanager
def _local_errors(what: str) -> Iterator[None]:
    """Raise errors of the system as LocalFileError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise NoSpaceError(f"{what}: no space left; run the same command again when there is room") from error
        raise LocalFileError(f"{what}: {error.strerror}") from error


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
        status = target.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
            return False
        with open(target, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _taken(target: Path) -> LocalFileError:
    return LocalFileError(f"{target} is there already, with other content; move it, choose another --out, or --force")


def remove_partial_files(folder: Path) -> None:
    """Remove the files below a folder that this process has not finished writing."""
    for path in folder.rglob(f".{os.getpid():x}-*.part"):
        path.unlink(missing_ok=True)


class AtomicFile:
    """A file that is written under a temporary name, and renamed when it is complete and matches its checksum.

    Raises:
        LocalFileError: it cannot be written, or without `replace` there is a file of its name.
    """

    def __init__(self, target: Path, sha256: str, *, replace: bool = False) -> None:
        if not replace and os.path.lexists(target):
            raise _taken(target)
        self._replaces = replace
        self._target = target
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._temporary = target.with_name(f".{os.getpid():x}-{id(self):x}.part")
        with _local_errors(f"{target} cannot be written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "xb", buffering=0)  # noqa: SIM115 (closed by commit or abort)

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
            if self._replaces:
                os.replace(self._temporary, self._target)
                return
            try:
                name_new(self._temporary, self._target)
            except FileExistsError as error:
                raise _taken(self._target) from error

    def abort(self) -> None:
        """Remove the file, unless it was committed."""
        self._file.close()
        with suppress(OSError):
            os.unlink(self._temporary)

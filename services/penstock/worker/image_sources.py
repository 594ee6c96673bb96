"""ImageSources: reads the files of images: uploads in the store, objects in buckets, files below an allowed folder."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.regions import Regions
from penstock.common.settings import Limits
from penstock.common.sidecars import MAX_BYTES, read_sidecar
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.bucket_allowlist import (
    BucketAllowlist,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceTooLargeError,
)
from penstock.common.store.composite import is_url


class ImageSources:
    """Reads images' files. Files must be below `root` and URLs in `buckets`; None: no files, or no URLs."""

    def __init__(self, store: Store, limits: Limits, root: Path | None, buckets: BucketAllowlist | None = None) -> None:
        self._store = store
        self._limits = limits
        self._buckets = buckets or BucketAllowlist()
        self._root = None if root is None else os.fsencode(root.resolve())

    def read(self, ref: str) -> bytes:
        """Return the bytes of a store key, a `file://` URL or a bucket's URL.

        Raises:
            ImageError: source_not_found, source_forbidden or too_large_file.
            UnavailableError: the store or a bucket is unreachable.
        """
        return self._read(ref, self._limits)

    def read_regions(self, ref: str) -> Regions:
        """Return the regions in an image's sidecar.

        Raises:
            ImageError: source_not_found, source_forbidden or invalid_regions.
            UnavailableError: the store or a bucket is unreachable.
        """
        name = ascii(unquote(ref.rpartition("/")[2])[:80]) if is_url(ref) else "the regions' file"
        try:
            return read_sidecar(self._read(ref, self._limits.model_copy(update={"max_file_bytes": MAX_BYTES})))
        except ImageError as error:
            if error.code is ImageCode.TOO_LARGE_FILE:
                message = f"{name}: the file is larger than {MAX_BYTES} bytes, which is the limit"
                raise ImageError(ImageCode.INVALID_REGIONS, message) from error
            raise ImageError(error.code, f"{name}: {error.message}") from error
        except ValueError as error:
            raise ImageError(ImageCode.INVALID_REGIONS, f"{name}: {error}") from error

    def _read(self, ref: str, limits: Limits) -> bytes:
        if ref.startswith("file://"):
            return self._read_file(unquote_to_bytes(urlsplit(ref).path), limits)
        if is_url(ref):
            return self._read_object(ref, limits)
        try:
            size = self._store.size(ref)
            if size is not None:
                check_size(size, limits)
            return self._store.get(ref)
        except ObjectNotFoundError as error:
            raise ImageError(ImageCode.SOURCE_NOT_FOUND, "the uploaded file was removed") from error

    def _read_object(self, url: str, limits: Limits) -> bytes:
        try:
            return self._buckets.read(url, limits.max_file_bytes)
        except (SourceNotFoundError, SourceForbiddenError, SourceTooLargeError) as error:
            raise ImageError(ImageCode(error.code), error.message) from error

    def _read_file(self, path: bytes, limits: Limits) -> bytes:
        if self._root is None:
            raise ImageError(ImageCode.SOURCE_FORBIDDEN, "this worker may read no files; PENSTOCK_INPUT_ROOT is unset")
        with open_regular_file(path, self._root) as (file, size_bytes):
            check_size(size_bytes, limits)
            return file.read()


def check_size(size_bytes: int, limits: Limits) -> None:
    """Raise ImageError, `too_large_file`, if an image's file is too large."""
    if size_bytes > limits.max_file_bytes:
        raise ImageError(
            ImageCode.TOO_LARGE_FILE, f"the file has {size_bytes} bytes; {limits.accepted('max_file_bytes')}"
        )


@contextmanager
def open_regular_file(path: bytes, root: bytes | None) -> Iterator[tuple[FileIO, int]]:
    """Open a regular file, which must be below `root` unless that is None; yields it and its size in bytes.

    Raises:
        ImageError: source_not_found or source_forbidden, also if reading fails.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            if root is not None and not is_below(real_path(file.fileno(), path), root):
                raise ImageError(ImageCode.SOURCE_FORBIDDEN, "the file is outside the folder allowed for inputs")
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(ImageCode.SOURCE_NOT_FOUND, "not a regular file")
            yield file, status.st_size
    except IsADirectoryError as error:
        if root is not None and not is_below(os.path.realpath(path), root):
            raise ImageError(ImageCode.SOURCE_FORBIDDEN, "it leads out of the folder allowed for inputs") from error
        raise ImageError(ImageCode.SOURCE_NOT_FOUND, "it is a folder, not a file") from error
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

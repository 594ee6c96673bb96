"""The folder that this process shares with a program: what is put there, and what is believed of what is found there.

The program may be anybody's. So each result has to be a regular file right in the folder that was made for it, and
links are not followed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.settings import Limits
from penstock.common.store.base import Buffer
from penstock.worker.executors.base import File
from penstock.worker.executors.picture_files import MAX_HEADER_BYTES, picture_pieces, read_picture, read_shape
from penstock.worker.executors.safetensors import Picture

_HEAD_BYTES = MAX_HEADER_BYTES + 8


@dataclass(frozen=True)
class SharedPicture:
    """A picture in the folder: its path as the program sees it. `shape` is None while it is a JPEG or PNG file."""

    path: str
    shape: tuple[int, int, int] | None


class SharedFolder:
    """The folder `here`, which the program sees as `there`. Both must not be used by anybody else."""

    def __init__(self, here: Path, there: str, limits: Limits) -> None:
        self._here = here
        self._there = there
        self._limits = limits
        self._numbers = count()
        here.mkdir(parents=True, exist_ok=True)

    def put_file(self, data: bytes) -> SharedPicture:
        """Put an image's file there."""
        return SharedPicture(self._put([data]), None)

    def put_picture(self, picture: Picture) -> SharedPicture:
        """Put a picture there."""
        height, width, _ = picture.shape
        return SharedPicture(self._put(picture_pieces(picture)), (height, width, 3))

    def make_folder(self) -> str:
        """Make an empty folder for results; return its path as the program sees it."""
        name = str(next(self._numbers))
        os.mkdir(self._here / name, 0o755)
        return f"{self._there}/{name}"

    def find_pictures(self, folder: str, paths: Sequence[str]) -> list[SharedPicture]:
        """Return the pictures that a program says it made, as they lie there.

        Raises:
            ImageError: `internal`, one is not there or is no picture.
        """
        return [SharedPicture(path, self._read_shape(folder, path)) for path in self._checked(paths)]

    def read_pictures(self, folder: str, paths: Sequence[str]) -> list[Picture]:
        """Return the pictures that a program says it made.

        Raises:
            ImageError: `internal`, one is not there or is no picture; `too_many_pixels`.
        """
        pictures = []
        left = self._limits.max_pixels
        for path in self._checked(paths):
            pictures.append(_picture(self._read(folder, path, left * 3 + _HEAD_BYTES)))
            left -= pictures[-1].shape[0] * pictures[-1].shape[1]
        return pictures

    def read_file(self, folder: str, path: str, kind: str) -> File:
        """Return a JPEG or PNG file that a program says it made.

        Raises:
            ImageError: `internal`, it is not there or is no such file.
        """
        data = self._read(folder, path, 4 * self._limits.max_pixels + _HEAD_BYTES)
        try:
            header = read_header(data)
        except ImageError as error:
            raise _unusable(f"it made a file that cannot be read: {error.message}") from error
        if header.type != kind:
            raise _unusable(f"it made a {header.type} file; {kind} was asked for")
        return File(data, header.width, header.height)

    def clear(self) -> None:
        """Remove all that lies there."""
        with os.scandir(self._here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)

    def _checked(self, paths: Sequence[str]) -> Sequence[str]:
        if len(paths) > self._limits.max_parts:
            raise ImageError(
                ImageCode.PARAMETER_NOT_APPLICABLE,
                f"it made {len(paths)} parts; accepted are 1 to {self._limits.max_parts}",
            )
        return paths

    def _put(self, pieces: Sequence[Buffer]) -> str:
        name = str(next(self._numbers))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self._here / name, flags, 0o644), "wb", buffering=0) as file:
            for piece in pieces:
                view = memoryview(piece).cast("B")
                while view:
                    view = view[file.write(view) :]
        return f"{self._there}/{name}"

    def _read_shape(self, folder: str, path: str) -> tuple[int, int, int]:
        head, size_bytes = self._read_head(folder, path, _HEAD_BYTES)
        try:
            return read_shape(head, size_bytes)[0]
        except ImageError as error:
            raise _unusable(f"it made {error.message}") from error

    def _read(self, folder: str, path: str, max_bytes: int) -> bytes:
        data, size_bytes = self._read_head(folder, path, max_bytes)
        if size_bytes > max_bytes:
            raise ImageError(
                ImageCode.TOO_MANY_PIXELS, f"it made a file of {size_bytes} bytes; accepted are up to {max_bytes}"
            )
        return data

    def _read_head(self, folder: str, path: str, max_bytes: int) -> tuple[bytes, int]:
        """Return the first bytes of a result and its size, and follow no link on the way."""
        name = path.removeprefix(f"{folder}/")
        if name == path or "/" in name or "\0" in name or name in ("", ".", ".."):
            raise _unusable(f"it made {path[:80]!r}, which is not in the folder that was given")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        inside = os.fsencode(self._here / folder.removeprefix(f"{self._there}/"))
        try:
            descriptor = os.open(inside, flags | os.O_DIRECTORY)
            try:
                file = os.open(os.fsencode(name), flags, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            with open(file, "rb", buffering=0) as opened:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise _unusable(f"{name[:80]!r} is no regular file")
                return opened.read(min(status.st_size, max_bytes)), status.st_size
        except OSError as error:
            raise _unusable(f"{name[:80]!r} cannot be read: {error.strerror}") from error


def _picture(data: bytes) -> Picture:
    try:
        return read_picture(data)
    except ImageError as error:
        raise _unusable(f"it made {error.message}") from error


def _unusable(message: str) -> ImageError:
    return ImageError(ImageCode.INTERNAL, f"the step's program does not keep to the protocol: {message}")

"""Parts of a form: a text that is held in memory, or a file that is written to the store as it arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from penstock.common.image_header import image_type
from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.base import Buffer, Upload

_HEAD_BYTES = 32


@dataclass(frozen=True)
class SentFile:
    """A received file: its clean name, size, type by its first bytes (None: not accepted), and digest if asked for."""

    name: str
    size_bytes: int
    kind: str | None
    sha256: str | None


class DiscardedUpload:
    """An upload that stores nothing, for dry runs."""

    def write(self, data: Buffer) -> None:
        """Discard the bytes."""

    def commit(self) -> int:
        """Return the stored size: 0."""
        return 0

    def abort(self) -> None:
        """Do nothing."""


class Part(Protocol):
    """A part of a form while it arrives."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes."""

    def commit(self) -> None:
        """Complete the part."""

    def abort(self) -> None:
        """Drop the part."""


class TextPart:
    """A text; `commit` appends it to `texts`."""

    def __init__(self, texts: list[str], name: str, count: Callable[[int], None]) -> None:
        self._texts = texts
        self._name = name
        self._count = count
        self._data = bytearray()

    def write(self, data: memoryview) -> None:
        self._count(len(data))
        self._data += data

    def commit(self) -> None:
        try:
            self._texts.append(self._data.decode())
        except UnicodeDecodeError as error:
            raise RequestError(400, "invalid_json", f"{self._name} is not UTF-8") from error

    def abort(self) -> None:
        self._data.clear()


class FilePart:
    """A file; `commit` appends it to `files`."""

    def __init__(self, files: list[SentFile], name: str, limits: Limits, upload: Upload, *, digest: bool) -> None:
        self._files = files
        self._name = name
        self._max_bytes = limits.max_file_bytes
        self._upload = upload
        self._sha256 = hashlib.sha256() if digest else None
        self._head = b""
        self._size_bytes = 0

    def write(self, data: memoryview) -> None:
        self._size_bytes += len(data)
        if self._size_bytes > self._max_bytes:
            raise RequestError(
                413, "too_large_file", f"file {self._name!r} is larger than {self._max_bytes} bytes", "/files"
            )
        if len(self._head) < _HEAD_BYTES:
            self._head += bytes(data[: _HEAD_BYTES - len(self._head)])
        if self._sha256 is not None:
            self._sha256.update(data)
        self._upload.write(data)

    def commit(self) -> None:
        self._upload.commit()
        digest = self._sha256.hexdigest() if self._sha256 is not None else None
        self._files.append(SentFile(self._name, self._size_bytes, image_type(self._head), digest))

    def abort(self) -> None:
        self._upload.abort()

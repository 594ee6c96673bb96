"""The store's port: uploads, intermediates and results as objects under keys, whole or streamed.

Every adapter passes the one contract suite in `tests/contract/`. Keys are relative paths with `/` between their
parts; no part is empty, `.` or `..`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

Buffer = bytes | bytearray | memoryview


class ObjectNotFoundError(KeyError):
    """No object has that key."""


class Upload(Protocol):
    """An object being written piece by piece; nobody sees it before `commit`."""

    def write(self, data: Buffer) -> None:
        """Append."""

    def commit(self) -> int:
        """Make the object visible under its key; return its size in bytes."""

    def abort(self) -> None:
        """Drop what was written. After `commit` this does nothing."""


class Store(Protocol):
    """Objects under keys. An object appears whole or not at all; writing a key again replaces it.

    Any method raises UnavailableError where the store is away or full. All may be called from any thread.
    """

    def put(self, key: str, pieces: Sequence[Buffer]) -> None:
        """Write an object made of `pieces` one after the other."""

    def upload(self, key: str) -> Upload:
        """Start writing an object piece by piece."""

    def get(self, key: str) -> bytes:
        """Return a whole object.

        Raises:
            ObjectNotFoundError: no such key.
        """

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end` in pieces of at most 1 MiB.

        Raises:
            ObjectNotFoundError: no such key (raised by the call, not by the first piece).
        """

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None where there is none."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys below `prefix` (a whole folder: `results/<job>`), in no order."""

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders right below `prefix`, in no order."""

    def delete(self, key: str) -> None:
        """Remove an object; none there is as well."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything below `prefix` (a whole folder)."""

    def check(self) -> None:
        """Prove that objects can be written now; raises UnavailableError otherwise."""

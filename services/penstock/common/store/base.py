"""Store port: uploads, intermediates and results as objects under keys.

Every adapter passes the contract suite in `tests/contract/store/`. Keys are relative paths separated by `/`; no part
is empty, `.` or `..`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.common.model.errors import FullError, format_bytes

Buffer = bytes | bytearray | memoryview


class ObjectNotFoundError(KeyError):
    """There is no object with that key."""


@dataclass(frozen=True)
class Room:
    """The free bytes of a volume, and the `reserve` of them that nothing new should use up.

    Only small objects, and what makes room, may use the second half of the reserve.
    """

    free_bytes: int
    reserve_bytes: int

    @property
    def is_low(self) -> bool:
        """Whether it takes no new work."""
        return self.free_bytes < self.reserve_bytes

    def check(self, what: str) -> None:
        """Raise FullError if new work would use the reserve."""
        if self.is_low:
            raise FullError(what, self.free_bytes)

    def check_write(self, what: str, size_bytes: int) -> None:
        """Raise FullError if writing so much would use the second half of the reserve."""
        if self.free_bytes - size_bytes < self.reserve_bytes // 2:
            raise FullError(what, self.free_bytes)

    @property
    def state(self) -> str:
        """`ok`, `nearly full`: it takes no new work, or `full`: only what makes room."""
        if not self.is_low:
            return "ok"
        return "nearly full" if self.free_bytes >= self.reserve_bytes // 2 else "full"

    def __str__(self) -> str:
        return f"{self.state} ({format_bytes(self.free_bytes)} free)"


class Upload(Protocol):
    """An object that is written in pieces, and invisible until `commit`."""

    def write(self, data: Buffer) -> None:
        """Append bytes."""

    def commit(self) -> int:
        """Make the object visible under its key; return its size in bytes."""

    def abort(self) -> None:
        """Discard what was written. Has no effect after `commit`."""


class Store(Protocol):
    """Objects under keys. Writes are atomic, and replace an object with the same key.

    All methods raise UnavailableError if the store is unreachable, FullError if it is full, and ObjectFailedError if
    only the one object cannot be read or written. They may be called from any thread.
    """

    def put(self, key: str, pieces: Sequence[Buffer], *, volatile: bool = False) -> None:
        """Write an object, the concatenation of `pieces`. A power failure may lose it if it is `volatile`."""

    def upload(self, key: str, *, volatile: bool = False) -> Upload:
        """Start writing an object in pieces; see `put`."""

    def get(self, key: str) -> bytes:
        """Return a whole object. Raises ObjectNotFoundError if there is none."""

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end` in pieces of at most 1 MiB.

        The call, not the first piece, raises ObjectNotFoundError.
        """

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes; None if there is none."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys in a folder and its subfolders, such as `results/<job>`, in any order."""

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names of a folder's direct subfolders, in any order."""

    def delete(self, *keys: str) -> None:
        """Delete objects, those of them that there are."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete a folder with everything in it, if there is one."""

    def check(self) -> None:
        """Write and delete an object, to prove that the store can be used."""

    def room(self) -> Room | None:
        """Return the free bytes of the store's volume; None if the store does not tell."""

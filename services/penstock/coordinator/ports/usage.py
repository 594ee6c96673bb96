"""Usage: what an owner, or everyone, has of open jobs and images, of uploads, and of stored bytes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """Whose jobs and uploads a read finds: those of one owner, or of everyone (None)."""

    owner: str | None

    def includes(self, owner: str) -> bool:
        """Return whether something of this owner is in scope."""
        return self.owner is None or self.owner == owner


ALL_OWNERS = Scope(None)


@dataclass(frozen=True)
class OpenUploads:
    """The uploads that no job reads: one owner's, and all owners'. Sizes are in bytes."""

    uploads: int
    size_bytes: int
    all_uploads: int
    all_size_bytes: int


@dataclass(frozen=True)
class Usage:
    """An owner's open jobs, their open images, and the images accepted or received today (UTC).

    Jobs that were cancelled seconds ago are among them, because workers may still be busy with them.
    """

    open_jobs: int
    open_images: int
    images_today: int


@dataclass(frozen=True)
class StoredBytes:
    """What the store has of an owner's jobs and uploads. An upload of several jobs counts once."""

    owner: str
    jobs: int = 0
    upload_bytes: int = 0
    """Bytes of uploads, and of files that came with jobs."""
    result_bytes: int = 0
    next_expires_at: float | None = None
    """When the next of these jobs expires; None if none is to."""

    @property
    def total_bytes(self) -> int:
        """All bytes together."""
        return self.upload_bytes + self.result_bytes


def sum_stored(stored: Sequence[StoredBytes]) -> StoredBytes:
    """Return what several owners have together, as that of one without a name."""
    return StoredBytes(
        "",
        sum(each.jobs for each in stored),
        sum(each.upload_bytes for each in stored),
        sum(each.result_bytes for each in stored),
        min((each.next_expires_at for each in stored if each.next_expires_at is not None), default=None),
    )

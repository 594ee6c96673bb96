"""Uploads and presets: what callers keep for their jobs; and how much the store has of whom."""

from datetime import datetime
from typing import Any

from penstock.common.model.rest.base import RestModel


class UploadedFile(RestModel):
    """A file of an upload. `media_type` is found from its first bytes; null if it is no image that is accepted."""

    name: str
    size: int
    media_type: str | None = None
    sha256: str


class Upload(RestModel):
    """Files that are sent one by one, for jobs to read. `pictures` of the `count` files are images."""

    id: str
    url: str
    changed_at: datetime
    count: int = 0
    pictures: int = 0
    size: int = 0


class UploadPage(Upload):
    """An upload with its files by name. `cursor` and `next` lead to the next page; null on the last one."""

    files: list[UploadedFile]
    cursor: str | None
    next: str | None


class Preset(RestModel):
    """A job document without images that a caller keeps under a name."""

    name: str
    document: dict[str, Any]
    changed_at: datetime
    url: str = ""


class PresetList(RestModel):
    """A caller's presets by name."""

    presets: list[Preset]


class StoredBytes(RestModel):
    """Bytes of an owner's uploads and results, or of all owners together (`owner` null).

    `max_bytes` is what is allowed; null without a limit. `next_expires_at` is when the next job expires.
    """

    owner: str | None = None
    jobs: int = 0
    upload_bytes: int = 0
    result_bytes: int = 0
    max_bytes: int | None = None
    next_expires_at: datetime | None = None


class Usage(RestModel):
    """What is stored: by owner, as far as the caller may see; in all, for admin keys and servers without keys."""

    owners: list[StoredBytes]
    total: StoredBytes | None = None

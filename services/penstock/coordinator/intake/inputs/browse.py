"""Browse: what is in one folder of the input root or of a bucket, in pages, for people who choose inputs.

It shows what a job could name, and nothing else: no hidden entries, no links out of the root, no data of the server.
"""

import heapq
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from penstock.common.input_root import InputRoot
from penstock.common.model.errors import RequestError
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.coordinator.intake.inputs.files import checked_root, resolve
from penstock.coordinator.intake.inputs.resolver import translate_errors

POINTER = "/path"


class Entry(NamedTuple):
    """A folder, whose path ends with `/`, or a file. `path` is what a job names; files of buckets have their size."""

    path: str
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")


class Page(NamedTuple):
    """Entries, and the position of the last one that was looked at; None at the end of the folder."""

    entries: list[Entry]
    position: str | None


def list_places(root: InputRoot | None, buckets: BucketAllowlist) -> list[Entry]:
    """Return where inputs may be: the input root as `./`, and folders of buckets."""
    return [*([Entry("./")] if root else []), *(Entry(url) for url in buckets.allowed)]


def list_folder(root: InputRoot | None, buckets: BucketAllowlist, path: str, after: str, limit: int) -> Page:
    """Return what is in a folder, after a position.

    Raises:
        RequestError: 403 for a folder that jobs may not read; 422 if there is none.
        UnavailableError: the bucket is unreachable.
    """
    if "://" not in path:
        return _list_local(checked_root(root, POINTER), path, after, limit)
    with translate_errors(POINTER):
        folder = buckets.locate_folder(path)
        found = buckets.list_level(folder, after, limit + 1)
    shown = found[:limit]
    position = shown[-1][0] if len(found) > limit else None
    entries = [Entry(f"{folder.bucket}/{key}", size) for key, size in shown if "/." not in f"/{key[len(folder.key) :]}"]
    return Page(entries, position)


def _list_local(root: InputRoot, path: str, after: str, limit: int) -> Page:
    """Return the entries of a folder, folders first; one page of names is in memory."""
    folder = resolve(root, path, folder=True, pointer=POINTER)
    shown = folder.relative_to(root.resolve()).as_posix()
    base = "" if shown == "." else f"{shown}/"
    try:
        with root.open_folder(str(folder)) as descriptor:
            keys = heapq.nsmallest(limit + 1, (key for key in _names(descriptor) if key > after))
            entries = [entry for key in keys[:limit] if (entry := _look_up(root, base, key, descriptor))]
    except OSError as error:
        message = f"{path[:80]!a} cannot be read: {error.strerror}"
        raise RequestError(422, "source_not_found", message, POINTER) from error
    return Page(entries, keys[limit - 1] if len(keys) > limit else None)


def _names(folder: int) -> Iterator[str]:
    """Yield the names in a folder that jobs could use; `0` before those of folders, and `1` before others."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name.isprintable():
                with suppress(OSError):
                    yield f"{0 if entry.is_dir() else 1}{entry.name}"


def _look_up(root: InputRoot, base: str, key: str, folder: int) -> Entry | None:
    """Return an entry; None if a job may not use it."""
    is_folder, name = key[0] == "0", key[1:]
    try:
        resolve(root, base + name, folder=is_folder, pointer=POINTER)
        status = os.stat(name, dir_fd=folder)
    except (RequestError, OSError):
        return None
    return Entry(f"{base}{name}/") if stat.S_ISDIR(status.st_mode) else Entry(base + name, status.st_size)

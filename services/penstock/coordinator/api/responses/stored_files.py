"""A job's files: inputs in the store, in buckets or below the input root; results in the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from penstock.common.image_header import HEAD_BYTES, image_type
from penstock.common.model.errors import RequestError
from penstock.common.model.messages import Result
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.bucket_allowlist import BucketAllowlist, SourceForbiddenError
from penstock.common.store.composite import is_url
from penstock.coordinator.api.responses.file_responses import Content, Read
from penstock.coordinator.api.services import Services
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import Image

_CHUNK_BYTES = 1024 * 1024


def result_content(store: Store, result: Result) -> Content:
    """Return a result as a file to send."""
    key = None if is_url(result.key) else result.key
    return Content(result.name, result.size, result.media_type, result.sha256, True, _reader(store, result.key), key)


def sent_content(services: Services, image: Image) -> Content:
    """Return an image's input file, with the media type found from its bytes.

    Raises:
        RequestError: 404 if the file no longer exists.
    """
    if image.ref.startswith("file:"):
        return _local_content(services.input_root, image)
    if is_url(image.ref):
        return _bucket_content(services.buckets, image)
    size = services.store.size(image.ref)
    if size is None:
        raise _gone(image)
    content = _content(image.name, size, image.ref.replace("/", "-"), _reader(services.store, image.ref))
    return replace(content, key=image.ref)


def _local_content(root: Path | None, image: Image) -> Content:
    path = Path(os.fsdecode(unquote_to_bytes(urlsplit(image.ref).path)))
    try:
        status = path.stat()
        below = root is not None and path.resolve().is_relative_to(root.resolve())
    except OSError as error:
        raise _gone(image) from error
    if not below or not stat.S_ISREG(status.st_mode):
        raise not_found(f"file {image.name!r} below the input folder")
    return _content(image.name, status.st_size, f"{status.st_mtime_ns}-{status.st_size}", _local_reader(path))


def _bucket_content(buckets: BucketAllowlist, image: Image) -> Content:
    try:
        place = buckets.locate(image.ref)
        found = buckets.stat(place)
    except SourceForbiddenError as error:
        raise not_found(f"file {image.name!r} in a bucket that this server may read") from error
    if found is None:
        raise _gone(image)
    return _content(image.name, found.size_bytes, found.tag, _reader(buckets.store(place), place.key))


def _content(name: str, size: int, etag: str, read: Read) -> Content:
    kind = image_type(b"".join(read(0, min(size, HEAD_BYTES))))
    media_type = f"image/{kind}" if kind else "application/octet-stream"
    return Content(name, size, media_type, etag, kind is not None, read)


def _reader(store: Store, key: str) -> Read:
    def read(start: int, end: int) -> Iterator[bytes]:
        try:
            return store.stream(key, start, end)
        except ObjectNotFoundError as error:
            raise _gone() from error

    return read


def _local_reader(path: Path) -> Read:
    def read(start: int, end: int) -> Iterator[bytes]:
        try:
            with open(path, "rb") as file:
                file.seek(start)
                while start < end and (chunk := file.read(min(_CHUNK_BYTES, end - start))):
                    start += len(chunk)
                    yield chunk
        except OSError as error:
            raise _gone() from error

    return read


def _gone(image: Image | None = None) -> RequestError:
    return not_found(f"file {image.name!r} any more" if image else "such file any more")

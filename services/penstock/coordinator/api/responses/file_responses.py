"""File responses: a job's input files and results, whole or in ranges; 304 for a file that the client has already.

Results are in the store; input files are there, in buckets or below the input root.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_to_bytes, urlsplit

from fastapi import Request
from fastapi.responses import Response

from penstock.common.image_header import HEAD_BYTES, image_type
from penstock.common.input_root import InputRoot
from penstock.common.model.errors import ImageError, RequestError
from penstock.common.model.messages import Result
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.bucket_allowlist import BucketAllowlist, SourceForbiddenError
from penstock.common.store.composite import is_url
from penstock.coordinator.api.problems import problem
from penstock.coordinator.api.responses.stream import Stream
from penstock.coordinator.api.services import Services
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import Image

_CHUNK_BYTES = 1024 * 1024
_WHOLE_BYTES = 1024 * 1024
"""Up to this size a file is read and sent at once."""

Read = Callable[[int, int], Iterator[bytes]]
"""Yields a file's bytes from the first offset up to, not including, the second."""


@dataclass(frozen=True)
class Content:
    """A file to send. `etag` is unquoted; `inline` lets a browser show the file instead of saving it.

    `key` is the file's key in the store; None: it is somewhere else.
    """

    name: str
    size_bytes: int
    media_type: str
    etag: str
    inline: bool
    read: Read
    key: str | None = None


def file_response(request: Request, content: Content, accel_prefix: str | None = None) -> Response:
    """Return the response that sends a file.

    If the request came through an nginx that serves the store's files below `accel_prefix`, nginx sends the bytes and
    handles the range (X-Accel-Redirect).
    """
    headers = _headers(content)
    if _is_not_modified(request, content):
        return Response(status_code=304, headers=headers)
    span = _requested_range(request, content)
    if span is not None and span[0] >= span[1]:
        headers["Content-Range"] = f"bytes */{content.size_bytes}"
        del headers["Content-Disposition"]
        detail = (
            f"{request.headers['range'][:60]!a} is beyond the end of the file, which has {content.size_bytes} bytes"
        )
        return problem(416, "no_such_range", detail, headers=headers)
    if accel_prefix and content.key is not None and request.headers.get("x-penstock-front") == "accel":
        del headers["Accept-Ranges"]  # nginx adds it
        headers["X-Accel-Redirect"] = accel_prefix + quote(content.key)
        return Response(status_code=200, headers=headers, media_type=content.media_type)
    if span is None:
        return _send(content, 0, content.size_bytes, 200, headers)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size_bytes}"
    return _send(content, start, end, 206, headers)


def _send(content: Content, start: int, end: int, status: int, headers: dict[str, str]) -> Response:
    chunks = content.read(start, end)
    if end - start <= _WHOLE_BYTES:
        data = b"".join(chunks)
        if len(data) != end - start:
            raise _gone()
        return Response(data, status, headers, content.media_type)
    headers["Content-Length"] = str(end - start)
    return Stream(chunks, status, headers, content.media_type)


def _headers(content: Content) -> dict[str, str]:
    return {
        "ETag": f'"{content.etag}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition(content.name, inline=content.inline),
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def content_disposition(name: str, *, inline: bool) -> str:
    """Return the header that names a file."""
    kind = "inline" if inline else "attachment"
    name = name.rpartition("/")[2]
    plain = re.sub(r"[^ !#-\[\]-~]|%", "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _is_not_modified(request: Request, content: Content) -> bool:
    known = request.headers.get("if-none-match")
    if known is None:
        return False
    return known.strip() == "*" or f'"{content.etag}"' in re.findall(r'"[^"]*"', known)


def _requested_range(request: Request, content: Content) -> tuple[int, int] | None:
    """Return the requested byte range; None for the whole file (RFC 9110, section 14.2).

    Start is before end unless the file has no such bytes.
    """
    condition = request.headers.get("if-range")
    if condition is not None and condition != f'"{content.etag}"':
        return None
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", request.headers.get("range", "").strip())
    if match is None or match[1] == match[2] == "":
        return None
    size = content.size_bytes
    if match[1] == "":
        return max(0, size - int(match[2])), size
    start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    # An invalid range, such as one that ends before it starts, is ignored.
    return None if match[2] and int(match[2]) < start else (start, end)


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


def _local_content(root: InputRoot | None, image: Image) -> Content:
    path = unquote_to_bytes(urlsplit(image.ref).path)
    missing = not_found(f"file {image.name!r} below the input folder")
    if root is None:
        raise missing
    try:
        with root.open(path) as (_, status):
            pass
        etag = f"{status.st_mtime_ns}-{status.st_size}"
        return _content(image.name, status.st_size, etag, _local_reader(root, path, status))
    except ImageError as error:
        raise missing from error


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


def _local_reader(root: InputRoot, path: bytes, found: os.stat_result) -> Read:
    """Return the reader of a file that is still the one that was found."""

    def read(start: int, end: int) -> Iterator[bytes]:
        try:
            with root.open(path) as (file, status):
                if not os.path.samestat(status, found):
                    raise _gone()
                file.seek(start)
                while start < end and (chunk := file.read(min(_CHUNK_BYTES, end - start))):
                    start += len(chunk)
                    yield chunk
        except ImageError as error:
            raise _gone() from error

    return read


def _gone(image: Image | None = None) -> RequestError:
    return not_found(f"file {image.name!r} any more" if image else "such file any more")

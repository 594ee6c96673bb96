"""Files on their way out: whole, in part (`Range`), or not at all where the client has them already."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

_WHOLE_BYTES = 1024 * 1024
"""Files up to this are read and sent in one go."""

Read = Callable[[int, int], Iterator[bytes]]
"""Yields a file's bytes from the first offset up to, not including, the second."""


@dataclass(frozen=True)
class Content:
    """A file to deliver. `etag` is without quotes; `inline` whether a browser may show it.

    `key` is where it lies in the store; None: elsewhere.
    """

    name: str
    size_bytes: int
    media_type: str
    etag: str
    inline: bool
    read: Read
    key: str | None = None


def deliver(request: Request, content: Content, accel_prefix: str | None = None) -> Response:
    """Return the answer that sends a file.

    Where the request came by an nginx that has the store's files below `accel_prefix`, nginx sends the bytes, the part
    asked for included.
    """
    headers = _headers(content)
    if _has_already(request, content):
        return Response(status_code=304, headers=headers)
    span = _span(request, content)
    if span is not None and span[0] >= span[1]:
        headers["Content-Range"] = f"bytes */{content.size_bytes}"
        return Response(status_code=416, headers=headers)
    if accel_prefix and content.key is not None and request.headers.get("x-penstock-front") == "accel":
        del headers["Accept-Ranges"]  # nginx says so itself
        headers["X-Accel-Redirect"] = accel_prefix + quote(content.key)
        return Response(status_code=200, headers=headers, media_type=content.media_type)
    if span is None:
        return _send(content, 0, content.size_bytes, 200, headers)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size_bytes}"
    return _send(content, start, end, 206, headers)


def _send(content: Content, start: int, end: int, status: int, headers: dict[str, str]) -> Response:
    pieces = content.read(start, end)
    if end - start <= _WHOLE_BYTES:
        return Response(b"".join(pieces), status, headers, content.media_type)
    headers["Content-Length"] = str(end - start)
    # The first piece is read here, so that a file that is gone is answered as such.
    first = next(pieces, b"")
    return StreamingResponse(chain([first], pieces), status, headers, content.media_type)


def _headers(content: Content) -> dict[str, str]:
    return {
        "ETag": f'"{content.etag}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": _disposition(content),
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def _disposition(content: Content) -> str:
    kind = "inline" if content.inline else "attachment"
    name = content.name.rpartition("/")[2]
    plain = re.sub(r"[^ !#-\[\]-~]|%", "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _has_already(request: Request, content: Content) -> bool:
    known = request.headers.get("if-none-match")
    if known is None:
        return False
    return known.strip() == "*" or f'"{content.etag}"' in re.findall(r'"[^"]*"', known)


def _span(request: Request, content: Content) -> tuple[int, int] | None:
    """Return the bytes asked for, start before end where they exist; None for all (RFC 9110, section 14.2)."""
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
    # A range that ends before it starts is no range, and what is no range is ignored.
    return None if match[2] and int(match[2]) < start else (start, end)

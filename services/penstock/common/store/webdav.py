"""A web server as a store: nginx's WebDAV over one volume, which needs no bucket and no gateway.

Reads and small writes go by obstore. What it has no words for goes by the standard library: a large object in one
streamed request (a web server knows no parts), a folder as nginx lists it in JSON, a folder removed as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import quote
from uuid import uuid4

import obstore
from obstore.store import HTTPStore

from penstock.common.model.errors import UnavailableError
from penstock.common.store.base import Buffer
from penstock.common.store.bucket import PART, BucketStore, SpooledUpload, check_bucket_key, translated
from penstock.common.store.webdav_client import Body, WebDavClient

_PIECE = 1024 * 1024


class WebDavStore(BucketStore):
    """Objects as files below a URL. `line` leads to the same place as `bucket`.

    A PUT is one rename on the server's side, so nobody sees half an object. Listing leaves out what begins with a dot,
    as nginx does; removing a folder does not.
    """

    def __init__(self, bucket: HTTPStore, line: WebDavClient) -> None:
        super().__init__(bucket)
        self._line = line

    def put(self, key: str, pieces: Sequence[Buffer]) -> None:
        check_bucket_key(key)
        views = [memoryview(piece).cast("B") for piece in pieces]
        size = sum(map(len, views))
        if size > PART:
            _send(self._line, key, size, lambda: _cut(views))
            return
        with translated():
            obstore.put(self._bucket, key, views, use_multipart=False)

    def upload(self, key: str) -> SpooledUpload:
        check_bucket_key(key)
        return SpooledUpload(lambda file, size: _send(self._line, key, size, lambda: _read(file)))

    def list(self, prefix: str) -> Iterator[str]:
        pending = [prefix]
        while pending:
            folder = pending.pop()
            for entry in _entries(self._line, folder):
                path = f"{folder}/{entry['name']}"
                if entry["type"] == "directory":
                    pending.append(path)
                else:
                    yield path

    def children(self, prefix: str) -> Iterator[str]:
        return (entry["name"] for entry in _entries(self._line, prefix) if entry["type"] == "directory")

    def delete_prefix(self, prefix: str) -> None:
        check_bucket_key(prefix)
        status, _ = self._line.request("DELETE", f"{quote(prefix)}/", {"Depth": "infinity"})
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
            raise _refusal(status)

    def check(self) -> None:
        key = f".check-{uuid4().hex}"  # in no folder, which would remain
        with translated():
            obstore.put(self._bucket, key, b"ok", use_multipart=False)
            obstore.delete(self._bucket, key)


def _entries(line: WebDavClient, folder: str) -> list[dict[str, Any]]:
    """Return what is right in a folder, as nginx names it: `name` and `type` of each."""
    check_bucket_key(folder)
    status, body = line.request("GET", f"{quote(folder)}/")
    if status == HTTPStatus.NOT_FOUND:
        return []
    if status != HTTPStatus.OK:
        raise _refusal(status)
    try:
        entries: list[dict[str, Any]] = json.loads(body)
    except ValueError as error:
        raise UnavailableError("store", "the store cannot be used: it lists its folders in no JSON") from error
    return entries


def _send(line: WebDavClient, key: str, size: int, body: Body) -> None:
    status, _ = line.request("PUT", quote(key), {"Content-Length": str(size)}, body)
    if status not in (HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
        raise _refusal(status)


def _read(file: IO[bytes]) -> Iterator[Buffer]:
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece


def _cut(views: Sequence[memoryview]) -> Iterator[Buffer]:
    return (view[first : first + _PIECE] for view in views for first in range(0, len(view), _PIECE))


def _refusal(status: int) -> UnavailableError:
    closed = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    reason = "it refuses our credentials" if closed else f"it answers with status {status}"
    return UnavailableError("store", f"the store cannot be used: {reason}")

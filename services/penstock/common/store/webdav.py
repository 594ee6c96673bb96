"""WebDAV store: nginx over one volume, for installations without a bucket.

Reads and small writes use obstore. Requests that it does not support use the standard library: a large object in one
streamed request (WebDAV has no multipart uploads), nginx's JSON listing of a folder, and deleting a whole folder.
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
    """Objects as files below a URL; `client` and `bucket` are for the same URL.

    The server renames a file after a PUT, so nobody sees half an object. Like nginx, a listing leaves out names that
    begin with a dot; deleting a folder does not.
    """

    def __init__(self, bucket: HTTPStore, client: WebDavClient) -> None:
        super().__init__(bucket)
        self._client = client

    def put(self, key: str, pieces: Sequence[Buffer]) -> None:
        check_bucket_key(key)
        views = [memoryview(piece).cast("B") for piece in pieces]
        size = sum(map(len, views))
        if size > PART:
            _send(self._client, key, size, lambda: _cut(views))
            return
        with translated():
            obstore.put(self._bucket, key, views, use_multipart=False)

    def upload(self, key: str) -> SpooledUpload:
        check_bucket_key(key)
        return SpooledUpload(lambda file, size: _send(self._client, key, size, lambda: _read(file)))

    def list(self, prefix: str) -> Iterator[str]:
        pending = [prefix]
        while pending:
            folder = pending.pop()
            for entry in _entries(self._client, folder):
                path = f"{folder}/{entry['name']}"
                if entry["type"] == "directory":
                    pending.append(path)
                else:
                    yield path

    def children(self, prefix: str) -> Iterator[str]:
        return (entry["name"] for entry in _entries(self._client, prefix) if entry["type"] == "directory")

    def delete_prefix(self, prefix: str) -> None:
        check_bucket_key(prefix)
        status, _ = self._client.request("DELETE", f"{quote(prefix)}/", {"Depth": "infinity"})
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
            raise _error(status)

    def check(self) -> None:
        key = f".check-{uuid4().hex}"  # not in a folder, which would remain
        with translated():
            obstore.put(self._bucket, key, b"ok", use_multipart=False)
            obstore.delete(self._bucket, key)


def _entries(client: WebDavClient, folder: str) -> list[dict[str, Any]]:
    """Return the entries of a folder, each with `name` and `type`, as nginx lists them."""
    check_bucket_key(folder)
    status, body = client.request("GET", f"{quote(folder)}/")
    if status == HTTPStatus.NOT_FOUND:
        return []
    if status != HTTPStatus.OK:
        raise _error(status)
    try:
        entries: list[dict[str, Any]] = json.loads(body)
    except ValueError as error:
        raise UnavailableError("store", "the store cannot be used: its listing of a folder is not JSON") from error
    return entries


def _send(client: WebDavClient, key: str, size: int, body: Body) -> None:
    status, _ = client.request("PUT", quote(key), {"Content-Length": str(size)}, body)
    if status not in (HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
        raise _error(status)


def _read(file: IO[bytes]) -> Iterator[Buffer]:
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece


def _cut(views: Sequence[memoryview]) -> Iterator[Buffer]:
    return (view[first : first + _PIECE] for view in views for first in range(0, len(view), _PIECE))


def _error(status: int) -> UnavailableError:
    closed = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    reason = "it refuses the credentials" if closed else f"it answers with status {status}"
    return UnavailableError("store", f"the store cannot be used: {reason}")

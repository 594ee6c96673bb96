"""WebDAV store: nginx over one volume, for installations without a bucket.

Reads and small writes use obstore. Requests that it does not support use the standard library: a large object in one
streamed request (WebDAV has no multipart uploads), nginx's JSON listing of a folder, and deleting a whole folder.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import IO, Any
from urllib.parse import quote
from uuid import uuid4

import obstore
from obstore.store import HTTPStore

from penstock.common.backoff import Backoff
from penstock.common.model.errors import FullError, ObjectFailedError, UnavailableError
from penstock.common.store.base import Buffer
from penstock.common.store.bucket import PART, PIECE, BucketStore, SpooledUpload, check_bucket_key, translated

Body = Callable[[], Iterable[Buffer]]
"""Returns a body's pieces; called once for each attempt."""

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class WebDavClient:
    """Sends requests to `host`, `port` and `folder` (empty, or `/…`), each on a new connection; follows no redirects.

    An attempt fails after `attempt_secs` without progress; none begins later than `retry_secs` after the first.
    """

    secure: bool
    host: str
    port: int | None
    folder: str
    attempt_secs: float
    retry_secs: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def request(
        self, method: str, path: str, headers: Mapping[str, str] = NO_HEADERS, body: Body | None = None
    ) -> tuple[int, bytes]:
        """Send a request to a percent-encoded path below the folder; return the response's status and body.

        Raises:
            UnavailableError: there was no response.
        """
        end = time.monotonic() + self.retry_secs
        backoff = Backoff(first_secs=0.1, max_secs=2.0)
        while True:
            pause_secs = backoff.next_secs()
            final = time.monotonic() + pause_secs > end
            try:
                status, answer = self._attempt(method, path, headers, body)
                if final or not _is_temporary(status):
                    return status, answer
            except (OSError, HTTPException) as error:
                if final:
                    raise UnavailableError(
                        "store", "the store cannot be used: it is unreachable, or does not answer in time"
                    ) from error
            time.sleep(pause_secs)

    def _attempt(self, method: str, path: str, headers: Mapping[str, str], body: Body | None) -> tuple[int, bytes]:
        kind = HTTPSConnection if self.secure else HTTPConnection
        connection = kind(self.host, self.port, timeout=self.attempt_secs)
        try:
            all_headers = {**self.headers, **headers, "Connection": "close"}
            connection.request(method, f"{self.folder}/{path}", None if body is None else body(), all_headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class WebDavStore(BucketStore):
    """Objects as files below a URL; `client` and `bucket` are for the same URL.

    The server renames a file after a PUT, so nobody sees half an object. Like nginx, a listing leaves out names that
    begin with a dot; deleting a folder does not.
    """

    def __init__(self, bucket: HTTPStore, client: WebDavClient) -> None:
        super().__init__(bucket)
        self._client = client

    def put(self, key: str, pieces: Sequence[Buffer], *, volatile: bool = False) -> None:  # noqa: ARG002 (it has its own durability)
        check_bucket_key(key)
        views = [memoryview(piece).cast("B") for piece in pieces]
        size = sum(map(len, views))
        if size > PART:
            _send(self._client, key, size, lambda: _cut(views))
        else:
            super().put(key, views)

    def upload(self, key: str, *, volatile: bool = False) -> SpooledUpload:  # noqa: ARG002 (it has its own durability)
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
    while piece := file.read(PIECE):
        yield piece


def _cut(views: Sequence[memoryview]) -> Iterator[Buffer]:
    return (view[first : first + PIECE] for view in views for first in range(0, len(view), PIECE))


def _is_temporary(status: int) -> bool:
    return status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500


def _error(status: int) -> UnavailableError:
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        return FullError("store")
    closed = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    reason = "it refuses the credentials" if closed else f"it answers with status {status}"
    message = f"the store cannot be used: {reason}"
    if status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_URI_TOO_LONG):
        return ObjectFailedError("store", message)
    return UnavailableError("store", message, waiting_for=f"store ({reason})")

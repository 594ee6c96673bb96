"""Bucket store: S3, Google Cloud Storage, Azure Blob Storage or memory, through obstore."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import ObjectStore

from penstock.common.model.errors import FullError, ObjectFailedError, UnavailableError
from penstock.common.store.base import Buffer, ObjectNotFoundError
from penstock.common.store.keys import TEMPORARY, check_key

PIECE = 1024 * 1024
PART = 8 * 1024 * 1024
"""Larger objects are sent in parts of this size."""

_PARTS_AT_ONCE = 4
_PAGE = 1_000

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STATUS = re.compile(r"status code: (\d{3})\b")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_OF_ONE_OBJECT = frozenset({"KeyTooLongError", "EntityTooLarge", "InvalidObjectName", "XMinioInvalidObjectName"})
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"})


class BucketStore:
    """Objects in a bucket opened by `open_bucket`, below its prefix.

    obstore retries requests. Objects of more than 8 MiB are uploaded in parts, several at a time. If the writer dies,
    its parts stay invisible; a lifecycle rule of the bucket has to remove them. Must not be used on both sides of a
    fork.
    """

    def __init__(self, bucket: ObjectStore) -> None:
        self._bucket = bucket

    def put(self, key: str, pieces: Sequence[Buffer], *, volatile: bool = False) -> None:  # noqa: ARG002 (it has its own durability)
        check_bucket_key(key)
        views = [memoryview(piece).cast("B") for piece in pieces]
        one_request = sum(map(len, views)) <= PART
        with translated():
            obstore.put(
                self._bucket, key, views, use_multipart=not one_request, chunk_size=PART, max_concurrency=_PARTS_AT_ONCE
            )

    def upload(self, key: str, *, volatile: bool = False) -> SpooledUpload:  # noqa: ARG002 (it has its own durability)
        check_bucket_key(key)
        return SpooledUpload(
            lambda file, _: obstore.put(self._bucket, key, file, chunk_size=PART, max_concurrency=_PARTS_AT_ONCE)
        )

    def get(self, key: str) -> bytes:
        check_bucket_key(key)
        with translated(key):
            found = obstore.get(self._bucket, key)
            meta = found.meta
            if meta["size"] <= PART:
                return found.bytes().to_bytes()
        return b"".join(self._windows(key, meta["e_tag"], 0, meta["size"]))

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port. Reads up to 8 MiB ahead, so that a slow reader keeps no request open."""
        check_bucket_key(key)
        with translated(key):
            found = obstore.get(self._bucket, key, options={"head": start > 0})
            meta = found.meta
            stop = meta["size"] if end is None else min(end, meta["size"])
            if start == 0 and meta["size"] <= PART:
                return _cut(memoryview(found.bytes())[:stop])
        return self._windows(key, meta["e_tag"], start, stop)

    def size(self, key: str) -> int | None:
        check_bucket_key(key)
        with suppress(ObjectNotFoundError), translated(key):
            return obstore.head(self._bucket, key)["size"]
        return None

    def list(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix):
            yield from page

    def children(self, prefix: str) -> Iterator[str]:
        check_bucket_key(prefix)
        with translated():
            folders = obstore.list_with_delimiter(self._bucket, prefix)["common_prefixes"]
        yield from (folder.rpartition("/")[2] for folder in folders)

    def delete(self, *keys: str) -> None:
        for key in keys:
            check_bucket_key(key)
        for start in range(0, len(keys), _PAGE):
            self._delete(keys[start : start + _PAGE])

    def delete_prefix(self, prefix: str) -> None:
        for keys in self._pages(prefix):
            self._delete(keys)

    def _delete(self, keys: Sequence[str]) -> None:
        """Delete up to a page of objects."""
        try:
            with translated(keys[0]):
                obstore.delete(self._bucket, keys if len(keys) > 1 else keys[0])
        except ObjectNotFoundError:  # one of them is missing, and others may be left
            for key in keys if len(keys) > 1 else ():
                self._delete([key])

    def check(self) -> None:
        key = f"{TEMPORARY}/{uuid4().hex}"  # a new one: Google refuses a second write to a key within a second
        with translated():
            obstore.put(self._bucket, key, b"ok")
            obstore.delete(self._bucket, key)

    def room(self) -> None:
        """See the port. Buckets do not tell."""

    def _windows(self, key: str, e_tag: str | None, start: int, stop: int) -> Iterator[bytes]:
        for first in range(start, stop, PART):
            window = (first, min(first + PART, stop))
            with translated(key):
                found = obstore.get(self._bucket, key, options={"range": window, "if_match": e_tag})
                data = found.bytes()
            yield from _cut(memoryview(data))

    def _pages(self, prefix: str) -> Iterator[Sequence[str]]:
        check_bucket_key(prefix)
        with translated():
            pages = obstore.list(self._bucket, prefix, chunk_size=_PAGE)
        while True:
            with translated():
                page = next(pages, None)
            if page is None:
                return
            yield [entry["path"] for entry in page]


class SpooledUpload:
    """A temporary file, in memory while it is small, that `commit` sends to the bucket.

    `send` gets the file, at its start, and its size in bytes.
    """

    def __init__(self, send: Callable[[IO[bytes], int], object]) -> None:
        self._send = send
        self._size = 0
        with translated():
            self._file = tempfile.SpooledTemporaryFile(max_size=PART)  # noqa: SIM115 (closed by commit or abort)

    def write(self, data: Buffer) -> None:
        with translated():
            self._size += self._file.write(data)

    def commit(self) -> int:
        with translated(), self._file:
            self._file.seek(0)
            self._send(self._file, self._size)
        return self._size

    def abort(self) -> None:
        self._file.close()


def check_bucket_key(key: str) -> None:
    """Raise ValueError for an invalid key, or one that a bucket does not accept."""
    check_key(key)
    if _CONTROL.search(key):
        raise ValueError(f"{key!r} is not a key; a bucket accepts no control characters")


def _cut(data: memoryview) -> Iterator[bytes]:
    return (bytes(data[first : first + PIECE]) for first in range(0, len(data), PIECE))


@contextmanager
def translated(key: str | None = None) -> Iterator[None]:
    """Translate errors to those of the port. Without a key, only the bucket can be missing."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise _translate(error, key) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # obstore panics on an endpoint that is no URL
            raise
        raise UnavailableError(
            "store", "the endpoint in the environment is not a URL; accepted is http(s)://host:port"
        ) from error


def _translate(error: Exception, key: str | None) -> ObjectNotFoundError | UnavailableError:
    code = _CODE.search(str(error))
    no_bucket = code is not None and code[1] in _NO_BUCKET
    if isinstance(error, FileNotFoundError) and key is not None and not no_bucket:
        return ObjectNotFoundError(key)
    status = _STATUS.search(str(error))
    if status and status[1] == "507":
        return FullError("store")
    reason = _reason(error)
    message = f"the store cannot be used: {reason}{f' ({code[1]})' if code else ''}"
    if isinstance(error, PreconditionError) or (code and code[1] in _OF_ONE_OBJECT):
        return ObjectFailedError("store", message)
    return UnavailableError("store", message, waiting_for=f"store ({reason})")


def _reason(error: Exception) -> str:
    """Describe an error without its own text, which may contain addresses, tokens and data."""
    status = _STATUS.search(str(error))
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or (status and status[1] in ("401", "403")):
        return "it refuses the credentials"
    if isinstance(error, FileNotFoundError) or (status and status[1] == "404"):
        return "there is no such bucket"
    if isinstance(error, PreconditionError):
        return "an object was replaced while it was read"
    if status:
        return f"it answers with status {status[1]}"
    if isinstance(error, OSError):
        return f"{error.strerror}"
    return "it is unreachable, or does not answer in time"

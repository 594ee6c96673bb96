"""The buckets that jobs may read and write by URL, and nothing else whatever a URL is made to look like.

A URL is taken as it is written: no percent-encoding is undone, no `..` followed, no case folded. So being allowed is
being below one of the folders on the list, letter by letter, with a path that no server could read in another way.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.common.model.errors import PenstockError, UnavailableError
from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import Buffer, Store
from penstock.common.store.factory import open_bucket
from penstock.common.store.keys import TEMPORARY

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

OWN_FOLDERS = ("uploads", "results", "work", "resume", "plans", "cancelled", TEMPORARY)
"""Penstock's own objects, below the store's prefix: other customers' files, and what workers trust."""

MAX_URL_CHARACTERS = 2_048
_BUCKET_URL = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*/")
_SEPARATOR = r"(?:/|\\|%2f|%5c)"
_AMBIGUOUS = re.compile(
    rf"[\x00-\x1f\x7f]|(?:^|{_SEPARATOR})(?:\.|%2e){{0,2}}(?:{_SEPARATOR}|$)", re.IGNORECASE | re.DOTALL
)
_PLAIN = re.compile(r"[a-z0-9]+://[^/]+(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
"""What nearly all URLs are, told in half the time."""

_PAGE = 1_000


class SourceForbiddenError(PenstockError):
    """A URL that this server may not use, or that its credentials do not open."""


class SourceNotFoundError(PenstockError):
    """No object has that URL."""


class SourceTooLargeError(PenstockError):
    """An object is larger than its reader accepts."""


@dataclass(frozen=True, slots=True)
class Place:
    """An allowed URL: its bucket (`s3://photos`), and the object's key or the folder's (`delft/`, or empty) in it."""

    bucket: str
    key: str

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is there. `tag` changes with its bytes."""

    size_bytes: int
    tag: str


class BucketAllowlist:
    """The buckets that jobs may name. Each is opened when it is first used; any thread may use them.

    `allowed` are folders as URLs. `own` is the store's URL, without a `/` at its end: Penstock's own objects below it
    are never given out.
    """

    def __init__(
        self, allowed: Sequence[str] = (), own: str | None = None, open_one: Callable[[str], ObjectStore] | None = None
    ) -> None:
        self._allowed = tuple(_folder_of(url) for url in allowed)
        self._own = tuple(f"{own}/{folder}/" for folder in OWN_FOLDERS) if own else ()
        self._open_one = open_one or (lambda url: open_bucket(url, StoreSettings()))
        self._opened: dict[str, ObjectStore] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: StoreSettings) -> BucketAllowlist:
        """Return the buckets that settings allow: those named, or the store's own bucket.

        Raises:
            SettingsError: one of `sources` names no bucket.
        """
        scheme, _, rest = (settings.store_url or "").partition("://")
        name, _, prefix = rest.partition("/")
        bucket = f"{scheme.lower()}://{name}"
        if not _BUCKET_URL.fullmatch(f"{bucket}/"):  # a folder of this host, or memory
            return cls(settings.sources, None, lambda url: open_bucket(url, settings))
        own = f"{bucket}/{prefix.strip('/')}".rstrip("/")
        return cls(settings.sources or (bucket,), own, lambda url: open_bucket(url, settings))

    @property
    def accepted(self) -> str:
        """What is accepted, for people."""
        if not self._allowed:
            return "this server uses no buckets; its operator can name some (PENSTOCK_SOURCES)"
        return f"accepted is what is below {', '.join(self._allowed)}"

    def check(self, url: str) -> None:
        """Make sure that an object's URL may be read or written.

        Raises:
            SourceForbiddenError: it may not.
        """
        if not url.startswith(self._allowed) or url.startswith(self._own) or _is_ambiguous(url):
            raise SourceForbiddenError("source_forbidden", f"{_shown(url)} may not be used; {self.accepted}")

    def object(self, url: str) -> Place:
        """Return the place of an object.

        Raises:
            SourceForbiddenError: it may not be used.
        """
        self.check(url)
        return _place(url)

    def folder(self, url: str) -> Place:
        """Return the place of a folder, which may be a whole bucket.

        Raises:
            SourceForbiddenError: it may not be used.
        """
        folder = url if url.endswith("/") else f"{url}/"
        self.check(f"{folder}x")
        return _place(folder)

    def find(self, place: Place) -> Found | None:
        """Look an object up; None where there is none.

        Raises:
            SourceForbiddenError: the bucket does not let us.
            UnavailableError: the bucket is away.
        """
        try:
            with _translated(place):
                found = self._open(place.bucket).head(place.key)
                return Found(found["size"], _tag(found))
        except SourceNotFoundError:
            return None

    def read(self, url: str, most_bytes: int) -> bytes:
        """Return an object's bytes; its size is known before its body is read.

        Raises:
            SourceForbiddenError: the URL may not be read.
            SourceNotFoundError: it leads to nothing.
            SourceTooLargeError: more than `most_bytes`.
            UnavailableError: the bucket is away.
        """
        place = self.object(url)
        with _translated(place):
            found = self._open(place.bucket).get(place.key)
            size = found.meta["size"]
            if size > most_bytes:
                raise SourceTooLargeError(
                    "too_large_file", f"the file has {size} bytes; accepted are up to {most_bytes}"
                )
            return found.bytes().to_bytes()

    def write(self, url: str, pieces: Sequence[Buffer]) -> None:
        """Write an object.

        Raises:
            SourceForbiddenError: the URL may not be written, or the bucket does not let us.
            SourceNotFoundError: there is no such bucket.
            UnavailableError: the bucket is away.
        """
        place = self.object(url)
        with _translated(place):
            try:
                self.store(place).put(place.key, pieces)
            except UnavailableError as error:  # its cause tells a bucket that is closed to us from one that is away
                raise error.__cause__ or error from error

    def list(self, place: Place) -> Iterator[tuple[str, int]]:
        """Yield key and size in bytes of every object below a folder, as the bucket orders them (S3, GCS: by key).

        Penstock's own objects are passed over.

        Raises:
            SourceForbiddenError, UnavailableError: as `find`.
        """
        with _translated(place):
            for page in self._open(place.bucket).list(place.key.rstrip("/") or None, chunk_size=_PAGE):
                for found in page:
                    if not f"{place.bucket}/{found['path']}".startswith(self._own):
                        yield found["path"], found["size"]

    def store(self, place: Place) -> Store:
        """Return the bucket of a place as a store, for what is written there or streamed from there."""
        from penstock.common.store.bucket import BucketStore  # not above: processes without buckets never load it

        return BucketStore(self._open(place.bucket))

    def _open(self, bucket: str) -> ObjectStore:
        with self._lock:
            if bucket not in self._opened:
                try:
                    self._opened[bucket] = self._open_one(bucket)
                except SettingsError as error:
                    raise UnavailableError("bucket", f"{bucket} cannot be opened: {error.message}") from error
            return self._opened[bucket]


def _tag(found: ObjectMeta) -> str:
    told = found["e_tag"] or f"{found['last_modified'].timestamp()}-{found['size']}"
    return re.sub(r"[^!#-~]", "", told)


def _folder_of(url: str) -> str:
    folder = url if url.endswith("/") else f"{url}/"
    bucket = _BUCKET_URL.match(folder)
    if bucket is None or (folder != bucket[0] and _is_ambiguous(f"{folder}x")):
        raise SettingsError(
            "invalid_settings",
            f"PENSTOCK_SOURCES: {url!r} is no folder of a bucket; accepted are such as s3://photos/ or gs://maps/delft/",
        )
    return folder


def _is_ambiguous(url: str) -> bool:
    """Say whether a URL's path could mean another one to somebody: see the module's first lines."""
    if len(url) > MAX_URL_CHARACTERS:
        return True
    return not _PLAIN.fullmatch(url) and _AMBIGUOUS.search(url.split("/", 3)[3]) is not None


def _place(url: str) -> Place:
    end = url.index("/", url.index("://") + 3)
    return Place(url[:end], url[end + 1 :])


def _shown(url: str) -> str:
    return ascii(url[:120])


@contextmanager
def _translated(place: Place) -> Iterator[None]:
    from obstore import exceptions  # not above: processes without buckets never load it

    shown = _shown(place.url)
    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise SourceNotFoundError("source_not_found", f"there is no {shown}") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise SourceForbiddenError("source_forbidden", f"the bucket does not open {shown} to this server") from error
    except (exceptions.BaseError, OSError, ValueError) as error:
        # Not the error's own text: it may name addresses, tokens and what was sent.
        status = re.search(r"status code: \d{3}\b", str(error))
        reason = status[0] if status else "it cannot be reached, or does not answer in time"
        raise UnavailableError("bucket", f"{shown}: {reason}") from error

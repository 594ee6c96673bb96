"""Bucket allow-list: the buckets, and folders in them, that jobs may read and write by URL.

URLs are compared as they are written: no percent-encoding is decoded, no `..` resolved, no case folded. A URL is
allowed if it begins with one of the listed folders and has a path that no server could interpret in another way.
"""

from __future__ import annotations

import builtins
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from penstock.common.model.errors import PenstockError, UnavailableError
from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import Buffer, Store
from penstock.common.store.factory import open_bucket
from penstock.common.store.keys import TEMPORARY

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

OWN_FOLDERS = ("uploads", "results", "work", "resume", "plans", "cancelled", TEMPORARY)
"""Folders of Penstock's own objects below the store's prefix: other customers' files, and data that workers trust."""

MAX_URL_CHARACTERS = 2_048
_BUCKET_URL = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*/")
_SEPARATOR = r"(?:/|\\|%2f|%5c)"
_AMBIGUOUS = re.compile(
    rf"[\x00-\x1f\x7f]|(?:^|{_SEPARATOR})(?:\.|%2e){{0,2}}(?:{_SEPARATOR}|$)", re.IGNORECASE | re.DOTALL
)
_PLAIN = re.compile(r"[a-z0-9]+://[^/]+(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
"""Matches nearly all unambiguous URLs, in half the time."""

_PAGE = 1_000


class SourceForbiddenError(PenstockError):
    """A URL that is not allowed, or that the server's credentials cannot access."""


class SourceNotFoundError(PenstockError):
    """There is no object with that URL."""


class SourceTooLargeError(PenstockError):
    """An object is larger than accepted."""


class Location(NamedTuple):
    """An allowed URL: a bucket (`s3://photos`), and the key of an object or folder (`delft/`, or empty) in it."""

    bucket: str
    key: str

    @property
    def url(self) -> str:
        return f"{self.bucket}/{self.key}"


class ObjectStat(NamedTuple):
    """Size and version of an object. `tag` changes with its content."""

    size_bytes: int
    tag: str


class BucketAllowlist:
    """The buckets that jobs may use. Each is opened on first use. May be used from any thread.

    Methods raise SourceForbiddenError if a URL is not allowed or the bucket refuses access, and UnavailableError if the
    bucket is unreachable.

    `allowed` are URLs of folders. `own` is the store's URL without a `/` at its end; Penstock's own objects below it
    are never accessible.
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
    def from_settings(cls, settings: StoreSettings) -> BucketAllowlist:
        """Return the allow-list of the settings: `sources`, or the store's bucket if there are none.

        Raises SettingsError if one of `sources` is not a folder of a bucket.
        """
        scheme, _, rest = (settings.store_url or "").partition("://")
        name, _, prefix = rest.partition("/")
        bucket = f"{scheme.lower()}://{name}"
        if not _BUCKET_URL.fullmatch(f"{bucket}/"):  # a folder of this host, or memory
            return cls(settings.sources, None, lambda url: open_bucket(url, settings))
        own = f"{bucket}/{prefix.strip('/')}".rstrip("/")
        return cls(settings.sources or (bucket,), own, lambda url: open_bucket(url, settings))

    @property
    def allowed(self) -> tuple[str, ...]:
        """The URLs of the folders that jobs may use."""
        return self._allowed

    @property
    def accepted(self) -> str:
        """What is accepted, for error messages."""
        if not self._allowed:
            return "this server allows no buckets; its operator can allow some (PENSTOCK_SOURCES)"
        return f"accepted are URLs below {', '.join(self._allowed)}"

    def check(self, url: str) -> None:
        """Check that an object's URL is allowed."""
        self._check(url, url)

    def _check(self, url: str, given: str) -> None:
        if not url.startswith(self._allowed) or url.startswith(self._own) or _is_ambiguous(url):
            raise SourceForbiddenError("source_forbidden", f"{_shown(given)} is not allowed; {self.accepted}")

    def locate(self, url: str) -> Location:
        self.check(url)
        return _to_location(url)

    def locate_folder(self, url: str) -> Location:
        """Return the location of a folder, which may be a whole bucket."""
        folder = url if url.endswith("/") else f"{url}/"
        self._check(f"{folder}x", url)  # as an object in it, whatever its name
        return _to_location(folder)

    def stat(self, location: Location) -> ObjectStat | None:
        """Return an object's size and version; None if there is no object."""
        with suppress(SourceNotFoundError), _translated(location):
            found = self._open(location.bucket).head(location.key)
            return ObjectStat(found["size"], _tag(found))
        return None

    def read(self, url: str, max_bytes: int) -> bytes:
        """Return an object's bytes; its size is checked before its body is read.

        Raises:
            SourceNotFoundError: there is no such object.
            SourceTooLargeError: it has more than `max_bytes`.
        """
        location = self.locate(url)
        with _translated(location):
            found = self._open(location.bucket).get(location.key)
            size = found.meta["size"]
            if size > max_bytes:
                raise SourceTooLargeError(
                    "too_large_file", f"the file has {size} bytes; accepted are up to {max_bytes}"
                )
            return found.bytes().to_bytes()

    def write(self, url: str, pieces: Sequence[Buffer]) -> None:
        """Write an object. Raises SourceNotFoundError if there is no such bucket."""
        location = self.locate(url)
        with _translated(location):
            try:
                self.store(location).put(location.key, pieces)
            except UnavailableError as error:  # its cause tells refused access from an outage
                raise error.__cause__ or error from error

    def list(self, location: Location) -> Iterator[tuple[str, int]]:
        """Yield key and size in bytes of every object below a folder, in the bucket's order (S3, GCS: by key).

        Penstock's own objects are skipped.
        """
        with _translated(location):
            for page in self._open(location.bucket).list(location.key.rstrip("/") or None, chunk_size=_PAGE):
                for found in page:
                    if not f"{location.bucket}/{found['path']}".startswith(self._own):
                        yield found["path"], found["size"]

    def list_level(self, location: Location, after: str, limit: int) -> builtins.list[tuple[str, int | None]]:
        """Return keys and sizes of the objects in a folder, and its subfolders, with `/` at the end and no size.

        They begin after the key `after`; at most `limit` are returned. What is in a subfolder is skipped, with one
        request for each. Penstock's own objects are left out.
        """
        folder = location.key if not location.key or location.key.endswith("/") else f"{location.key}/"
        found: builtins.list[tuple[str, int | None]] = []
        offset = _after_all_below(after) if after.endswith("/") else after
        with _translated(location):
            while len(found) < limit:
                pages = self._open(location.bucket).list(
                    folder.rstrip("/") or None, offset=offset or None, chunk_size=_PAGE
                )
                page = next(iter(pages), [])
                if not page:
                    break
                for each in page:
                    offset = each["path"]
                    name, slash, _ = offset[len(folder) :].partition("/")
                    key = f"{folder}{name}{slash}"
                    if name and not f"{location.bucket}/{key}".startswith(self._own):
                        found.append((key, None if slash else each["size"]))
                    if slash:
                        offset = _after_all_below(key)
                        break
        return found[:limit]

    def store(self, location: Location) -> Store:
        """Return the bucket of a location as a store, to write to it or stream from it."""
        from penstock.common.store.bucket import BucketStore  # loads obstore, which few processes need

        return BucketStore(self._open(location.bucket))

    def _open(self, bucket: str) -> ObjectStore:
        with self._lock:
            if bucket not in self._opened:
                try:
                    self._opened[bucket] = self._open_one(bucket)
                except SettingsError as error:
                    raise UnavailableError("bucket", f"{bucket} cannot be opened: {error.message}") from error
            return self._opened[bucket]


def _after_all_below(folder: str) -> str:
    """Return a key that sorts after all keys below a folder, and before those of its neighbours."""
    return f"{folder}\U0010ffff"


def _tag(found: ObjectMeta) -> str:
    tag = found["e_tag"] or f"{found['last_modified'].timestamp()}-{found['size']}"
    return re.sub(r"[^!#-~]", "", tag)


def _folder_of(url: str) -> str:
    folder = url if url.endswith("/") else f"{url}/"
    bucket = _BUCKET_URL.match(folder)
    if bucket is None or (folder != bucket[0] and _is_ambiguous(f"{folder}x")):
        raise SettingsError(
            "invalid_settings",
            f"PENSTOCK_SOURCES: {url!r} is not a folder of a bucket; accepted are for example s3://photos/ or gs://maps/delft/",
        )
    return folder


def _is_ambiguous(url: str) -> bool:
    """Return whether some server could interpret the URL's path in another way."""
    if len(url) > MAX_URL_CHARACTERS:
        return True
    return not _PLAIN.fullmatch(url) and _AMBIGUOUS.search(url.split("/", 3)[3]) is not None


def _to_location(url: str) -> Location:
    end = url.index("/", url.index("://") + 3)
    return Location(url[:end], url[end + 1 :])


def _shown(url: str) -> str:
    return ascii(url[:120])


@contextmanager
def _translated(location: Location) -> Iterator[None]:
    from obstore import exceptions  # imported here so that processes without buckets never load it

    shown = _shown(location.url)
    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise SourceNotFoundError("source_not_found", f"there is no {shown}") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise SourceForbiddenError("source_forbidden", f"the bucket refuses access to {shown}") from error
    except (exceptions.BaseError, OSError, ValueError) as error:
        # Not the error's own text, which may contain addresses, tokens and what was sent.
        status = re.search(r"status code: \d{3}\b", str(error))
        reason = status[0] if status else "it is unreachable, or does not answer in time"
        raise UnavailableError("bucket", f"{shown}: {reason}", waiting_for=f"bucket ({reason})") from error

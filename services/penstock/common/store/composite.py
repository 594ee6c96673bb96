"""Composite store: keys of the store, and URLs of objects in the buckets that jobs may use."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from penstock.common.metrics import CallCounters
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.store.base import Buffer, ObjectNotFoundError, Room, Store, Upload
from penstock.common.store.bucket_allowlist import (
    BucketAllowlist,
    Location,
    SourceForbiddenError,
    SourceNotFoundError,
)


def is_url(key: str) -> bool:
    """Return whether a key is a URL. Keys of the store never are, since no part of them is empty."""
    return "://" in key


class CompositeStore:
    """Implements the store port: a key that is a URL is an object in that bucket, any other is in `store`.

    Every URL is checked on each call; an object whose URL is no longer allowed counts as missing. Customers' buckets
    are never listed, and no folder is removed from them. `counters` counts the calls.
    """

    def __init__(self, store: Store, buckets: BucketAllowlist, counters: CallCounters | None = None) -> None:
        self._store = store
        self._buckets = buckets
        self._counters = counters or CallCounters()

    def put(self, key: str, pieces: Sequence[Buffer], *, volatile: bool = False) -> None:
        """See the port. Raises ImageError if the bucket of a URL refuses the object."""
        with self._counters.time("store.put"):
            if not is_url(key):
                self._store.put(key, pieces, volatile=volatile)
                return
            try:
                self._buckets.write(key, pieces)
            except (SourceForbiddenError, SourceNotFoundError) as error:
                raise ImageError(ImageCode(error.code), f"the result cannot be written: {error.message}") from error

    def upload(self, key: str, *, volatile: bool = False) -> Upload:
        return self._store.upload(key, volatile=volatile)

    def get(self, key: str) -> bytes:
        with self._counters.time("store.get"):
            store, key = self._route(key)
            return store.get(key)

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with self._counters.time("store.stream"):
            store, key = self._route(key)
            return store.stream(key, start, end)

    def size(self, key: str) -> int | None:
        with self._counters.time("store.size"), suppress(ObjectNotFoundError):
            store, key = self._route(key)
            return store.size(key)
        return None

    def list(self, prefix: str) -> Iterator[str]:
        return self._store.list(prefix)

    def children(self, prefix: str) -> Iterator[str]:
        return self._store.children(prefix)

    def delete(self, *keys: str) -> None:
        with self._counters.time("store.delete"), suppress(ObjectNotFoundError):
            own = [key for key in keys if not is_url(key)]
            if own:
                self._store.delete(*own)
            in_buckets: dict[str, list[Location]] = {}
            for url in filter(is_url, keys):
                with suppress(SourceForbiddenError):
                    location = self._buckets.locate(url)
                    in_buckets.setdefault(location.bucket, []).append(location)
            for locations in in_buckets.values():
                self._buckets.store(locations[0]).delete(*(location.key for location in locations))

    def delete_prefix(self, prefix: str) -> None:
        with self._counters.time("store.delete_prefix"):
            self._store.delete_prefix(prefix)

    def check(self) -> None:
        self._store.check()

    def room(self) -> Room | None:
        return self._store.room()

    def _route(self, key: str) -> tuple[Store, str]:
        if not is_url(key):
            return self._store, key
        try:
            location = self._buckets.locate(key)
        except SourceForbiddenError as error:
            raise ObjectNotFoundError(key) from error
        return self._buckets.store(location), location.key

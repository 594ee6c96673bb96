"""A store that also takes URLs for keys: what customers asked to have in buckets of their own goes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.store.base import Buffer, ObjectNotFoundError, Store, Upload
from penstock.common.store.bucket_allowlist import BucketAllowlist, SourceForbiddenError, SourceNotFoundError


def is_url(key: str) -> bool:
    """Say whether a key is a URL; keys of the store never are, having no empty parts."""
    return "://" in key


class CompositeStore:
    """Implements `port.Store`: objects whose key is a URL lie in that bucket, all others in `store`.

    Every URL is checked again, each time; what may not be used any more counts as not there. Nothing is ever listed in
    a customer's bucket, nor a whole folder removed.
    """

    def __init__(self, store: Store, buckets: BucketAllowlist) -> None:
        self._store = store
        self._buckets = buckets

    def put(self, key: str, pieces: Sequence[Buffer]) -> None:
        """Write an object.

        Raises:
            ImageError: a bucket that does not take it; the store's own being closed is the store being away.
        """
        if not is_url(key):
            self._store.put(key, pieces)
            return
        try:
            self._buckets.write(key, pieces)
        except (SourceForbiddenError, SourceNotFoundError) as error:
            raise ImageError(ImageCode(error.code), f"the result cannot be written: {error.message}") from error

    def upload(self, key: str) -> Upload:
        return self._store.upload(key)

    def get(self, key: str) -> bytes:
        store, key = self._route(key)
        return store.get(key)

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        store, key = self._route(key)
        return store.stream(key, start, end)

    def size(self, key: str) -> int | None:
        with suppress(ObjectNotFoundError):
            store, key = self._route(key)
            return store.size(key)
        return None

    def list(self, prefix: str) -> Iterator[str]:
        return self._store.list(prefix)

    def children(self, prefix: str) -> Iterator[str]:
        return self._store.children(prefix)

    def delete(self, key: str) -> None:
        with suppress(ObjectNotFoundError):
            store, key = self._route(key)
            store.delete(key)

    def delete_prefix(self, prefix: str) -> None:
        self._store.delete_prefix(prefix)

    def check(self) -> None:
        self._store.check()

    def _route(self, key: str) -> tuple[Store, str]:
        if not is_url(key):
            return self._store, key
        try:
            place = self._buckets.object(key)
        except SourceForbiddenError as error:
            raise ObjectNotFoundError(key) from error
        return self._buckets.store(place), place.key

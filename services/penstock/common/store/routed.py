"""A store that also takes URLs for keys: what customers asked to have in buckets of their own goes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.common.store.port import Buffer, Store, Upload
from penstock.common.store.sources import SourceBuckets


def is_url(key: str) -> bool:
    """Say whether a key is a URL; keys of the store never are, having no empty parts."""
    return "://" in key


class RoutedStore:
    """Implements `port.Store`: objects whose key is a URL lie in that bucket, all others in `store`.

    Every URL is checked again, each time. Nothing is ever listed, nor a whole folder removed, in a customer's bucket.
    """

    def __init__(self, store: Store, buckets: SourceBuckets) -> None:
        self._store = store
        self._buckets = buckets

    def put(self, key: str, pieces: Sequence[Buffer]) -> None:
        store, key = self._route(key)
        store.put(key, pieces)

    def upload(self, key: str) -> Upload:
        store, key = self._route(key)
        return store.upload(key)

    def get(self, key: str) -> bytes:
        store, key = self._route(key)
        return store.get(key)

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        store, key = self._route(key)
        return store.stream(key, start, end)

    def size(self, key: str) -> int | None:
        store, key = self._route(key)
        return store.size(key)

    def list(self, prefix: str) -> Iterator[str]:
        return self._store.list(prefix)

    def children(self, prefix: str) -> Iterator[str]:
        return self._store.children(prefix)

    def delete(self, key: str) -> None:
        store, key = self._route(key)
        store.delete(key)

    def delete_prefix(self, prefix: str) -> None:
        self._store.delete_prefix(prefix)

    def check(self) -> None:
        self._store.check()

    def _route(self, key: str) -> tuple[Store, str]:
        if not is_url(key):
            return self._store, key
        place = self._buckets.object(key)
        return self._buckets.store(place), place.key

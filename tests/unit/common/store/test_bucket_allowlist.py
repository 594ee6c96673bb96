"""Bucket allow-list: only URLs below listed folders, and never Penstock's own objects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from penstock.common.model.errors import ImageCode, ImageError, UnavailableError
from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import ObjectNotFoundError
from penstock.common.store.bucket_allowlist import (
    BucketAllowlist,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceTooLargeError,
)
from penstock.common.store.composite import CompositeStore
from penstock.common.store.local import LocalStore

ALLOWED = ("s3://photos/", "gs://maps/delft")


def buckets_of(store_url: str | None, *sources: str) -> BucketAllowlist:
    return BucketAllowlist.from_settings(StoreSettings(store_url=store_url, sources=sources))


def in_memory(*allowed: str) -> BucketAllowlist:
    """Return an allow-list of buckets in memory, created when they are opened."""
    return BucketAllowlist(allowed or ALLOWED, None, lambda url: MemoryStore())


@pytest.mark.parametrize(
    "url",
    ["s3://photos/a.jpg", "s3://photos/a/b c?d#e=%20&f.jpg", "gs://maps/delft/1.jpg", "s3://photos/ü/.hidden/...jpg"],
)
def test_urls_below_a_listed_folder_are_allowed(url: str) -> None:
    assert BucketAllowlist(ALLOWED).locate(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        # other buckets, and other spellings
        "s3://other/a.jpg",
        "s3://photos.evil/a.jpg",
        "s3://photosx/a.jpg",
        "gs://photos/a.jpg",
        "gs://maps/a.jpg",
        "gs://maps/delft-secret/a.jpg",
        "S3://photos/a.jpg",
        "s3://PHOTOS/a.jpg",
        "s3://me:secret@photos/a.jpg",
        "s3://photos@evil/a.jpg",
        "s3://photos:443/a.jpg",
        "s3://photos%2f/a.jpg",
        "s3:///photos/a.jpg",
        " s3://photos/a.jpg",
        "s3a://photos/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "https://photos.s3.amazonaws.com/a.jpg",
        "file:///etc/passwd",
        "memory:///a.jpg",
        "//photos/a.jpg",
        # paths that some server could interpret in another way
        "gs://maps/delft/../rotterdam/1.jpg",
        "gs://maps/delft/./1.jpg",
        "gs://maps/delft//1.jpg",
        "gs://maps/delft/%2e%2e/rotterdam/1.jpg",
        "gs://maps/delft/.%2E/rotterdam/1.jpg",
        "gs://maps/delft/..%2frotterdam/1.jpg",
        "gs://maps/delft/..\\rotterdam\\1.jpg",
        "gs://maps/delft/..%5Crotterdam/1.jpg",
        "gs://maps/delft/ü/..",
        "s3://photos/..",
        "s3://photos/a/",
        "s3://photos//a.jpg",
        "s3://photos/",
        "s3://photos/a\n.jpg",
        "s3://photos/a\0.jpg",
        "s3://photos/" + "x" * 2_048,
    ],
)
def test_all_other_urls_are_refused(url: str) -> None:
    with pytest.raises(SourceForbiddenError) as refused:
        BucketAllowlist(ALLOWED).locate(url)
    assert "accepted are URLs below s3://photos/, gs://maps/delft/" in refused.value.message


def test_folders_below_listed_folders_are_allowed() -> None:
    buckets = BucketAllowlist(ALLOWED)
    assert buckets.locate_folder("gs://maps/delft").key == buckets.locate_folder("gs://maps/delft/").key == "delft/"
    assert buckets.locate_folder("s3://photos").key == ""
    for url in ("gs://maps/", "gs://maps/del", "gs://maps/delft//", "gs://maps/delft/..", "s3://photos/a//", "s3://"):
        with pytest.raises(SourceForbiddenError, match=f"^'{re.escape(url)}' is not allowed"):
            buckets.locate_folder(url)


def test_by_default_the_stores_bucket_is_allowed_except_penstocks_own_objects() -> None:
    for store_url in ("s3://own/pen/stock", "S3://own/pen/stock/", "s3://own//pen/stock"):
        buckets = buckets_of(store_url)
        assert buckets.locate("s3://own/photos/1.jpg").key == "photos/1.jpg"
        assert buckets.locate_folder("s3://own/pen/stock/").key == "pen/stock/"
        for kept in ("uploads", "results", "work", "resume", "plans", "cancelled", ".tmp"):
            with pytest.raises(SourceForbiddenError):
                buckets.locate(f"s3://own/pen/stock/{kept}/x")
            with pytest.raises(SourceForbiddenError):
                buckets.locate_folder(f"s3://own/pen/stock/{kept}")
        with pytest.raises(SourceForbiddenError):
            buckets.locate("s3://photos/1.jpg")
    with pytest.raises(SourceForbiddenError):
        buckets_of("gs://own").locate("gs://own/uploads/u/0")


def test_penstocks_own_objects_are_refused_even_if_their_bucket_is_listed() -> None:
    buckets = buckets_of("s3://own/p", "s3://own/", "s3://own/p/uploads/")
    assert buckets.locate("s3://own/uploads/1.jpg")
    with pytest.raises(SourceForbiddenError):
        buckets.locate("s3://own/p/uploads/u/0")


@pytest.mark.parametrize("store_url", [None, "file:///srv/store", "memory://"])
def test_without_a_bucket_store_only_listed_buckets_are_allowed(store_url: str | None) -> None:
    with pytest.raises(SourceForbiddenError, match="PENSTOCK_SOURCES"):
        buckets_of(store_url).locate("s3://photos/1.jpg")
    assert buckets_of(store_url, "s3://photos").locate("s3://photos/1.jpg")


@pytest.mark.parametrize(
    "source", ["photos", "http://host/", "file:///srv", "s3://", "s3:///x", "s3://b/../c", "s3://b//"]
)
def test_a_source_that_is_not_a_folder_of_a_bucket_is_a_settings_error(source: str) -> None:
    with pytest.raises(SettingsError, match="PENSTOCK_SOURCES"):
        buckets_of(None, source)


def test_the_size_of_an_object_is_checked_before_it_is_read() -> None:
    buckets = in_memory()
    location = buckets.locate("s3://photos/a.jpg")
    buckets.store(location).put(location.key, [b"an image"])
    assert buckets.read("s3://photos/a.jpg", 8) == b"an image"
    with pytest.raises(SourceTooLargeError):
        buckets.read("s3://photos/a.jpg", 7)
    with pytest.raises(SourceNotFoundError):
        buckets.read("s3://photos/b.jpg", 7)
    with pytest.raises(SourceForbiddenError):
        buckets.read("s3://other/a.jpg", 7)
    found = buckets.stat(location)
    assert found is not None
    assert found.size_bytes == 8
    assert buckets.stat(buckets.locate("s3://photos/b.jpg")) is None


def test_a_bucket_that_cannot_be_opened_is_unavailable() -> None:
    def refuse(url: str) -> MemoryStore:
        raise SettingsError("invalid_settings", f"{url}: no region")

    with pytest.raises(UnavailableError):
        BucketAllowlist(ALLOWED, None, refuse).read("s3://photos/a.jpg", 1)


def test_a_composite_store_routes_urls_to_buckets_and_keys_to_the_store(tmp_path: Path) -> None:
    buckets, home = in_memory(), LocalStore(tmp_path)
    store = CompositeStore(home, buckets)
    store.put("results/j/a", [b"home"])
    store.put("s3://photos/out/j/a", [b"bucket"])
    store.put("s3://photos/out/j/b", [bytearray(b"la"), memoryview(b"ter")])
    assert (home.get("results/j/a"), store.get("results/j/a")) == (b"home", b"home")
    assert buckets.read("s3://photos/out/j/a", 6) == store.get("s3://photos/out/j/a") == b"bucket"
    assert b"".join(store.stream("s3://photos/out/j/b", 1, 3)) == b"at"
    assert (store.size("s3://photos/out/j/b"), store.size("s3://photos/out/j/c")) == (5, None)
    assert list(store.list("results")) == ["results/j/a"]
    store.delete("s3://photos/out/j/a")
    assert store.size("s3://photos/out/j/a") is None


def test_an_object_that_is_no_longer_allowed_counts_as_missing(tmp_path: Path) -> None:
    buckets = in_memory()
    CompositeStore(LocalStore(tmp_path), buckets).put("s3://photos/a", [b"x"])
    closed = CompositeStore(LocalStore(tmp_path), BucketAllowlist())
    closed.delete("s3://photos/a")
    assert buckets.read("s3://photos/a", 1) == b"x"
    assert closed.size("s3://photos/a") is None
    for read in (closed.get, closed.stream):
        with pytest.raises(ObjectNotFoundError):
            read("s3://photos/a")
    with pytest.raises(ImageError) as failed:
        closed.put("s3://photos/b", [b"x"])
    assert failed.value.code is ImageCode.SOURCE_FORBIDDEN

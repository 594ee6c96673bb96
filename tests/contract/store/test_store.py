"""Contract of the store port, for every adapter."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import StoreSettings
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.factory import open_store
from penstock.common.store.local import LocalStore

LOCAL: dict[str, Callable[[Path], Store]] = {
    "local": lambda folder: open_store(StoreSettings(), folder),
    "local_by_url": lambda folder: open_store(StoreSettings(store_url=f"file://{folder}/by%20url"), None),
    "memory": lambda folder: open_store(StoreSettings(store_url="memory://"), None),
}
BUCKETS = {
    "s3": "",
    "s3 below": "/a folder/b",
    "gcs": "",
    "gcs below": "/a folder/b",
    "web": "",
    "web below": "/a-folder/b",
}
"""The prefix in a new bucket; each key begins with the fixture of its server."""


@pytest.fixture(params=[*LOCAL, *BUCKETS])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param in LOCAL:
        return LOCAL[request.param](tmp_path)
    server = request.getfixturevalue(request.param.split()[0])
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(StoreSettings(store_url=server.create_bucket() + BUCKETS[request.param]), None)


def test_pieces_are_read_back_as_one_object(store: Store) -> None:
    store.put("work/a", [b"one", bytearray(b"two"), memoryview(b"three")])
    assert store.get("work/a") == b"onetwothree"
    assert store.size("work/a") == 11


def test_an_object_may_be_empty(store: Store) -> None:
    store.put("cancelled/j", [b""])
    assert store.get("cancelled/j") == b""
    assert store.size("cancelled/j") == 0


def test_writing_a_key_again_replaces_its_object(store: Store) -> None:
    store.put("results/j/a", [b"old and longer"])
    store.put("results/j/a", [b"new"])
    assert store.get("results/j/a") == b"new"


def test_a_missing_object_has_no_size_and_is_not_found(store: Store) -> None:
    assert store.size("results/j/none") is None
    with pytest.raises(ObjectNotFoundError):
        store.get("results/j/none")
    with pytest.raises(ObjectNotFoundError):
        store.stream("results/j/none")


def test_a_folder_is_not_an_object(store: Store) -> None:
    store.put("results/j/a", [b"x"])
    with pytest.raises(ObjectNotFoundError):
        store.get("results/j")


def test_a_stream_yields_the_requested_range_in_small_pieces(store: Store) -> None:
    data = os.urandom(3 * 1024 * 1024 + 5)
    store.put("results/j/big", [data])
    pieces = list(store.stream("results/j/big"))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1024 * 1024
    assert b"".join(store.stream("results/j/big", 10, 2_000_000)) == data[10:2_000_000]
    assert b"".join(store.stream("results/j/big", len(data) - 3)) == data[-3:]


def test_an_upload_is_visible_only_after_commit(store: Store) -> None:
    upload = store.upload("uploads/u/0")
    upload.write(b"first ")
    upload.write(memoryview(b"second"))
    assert store.size("uploads/u/0") is None
    assert upload.commit() == 12
    assert store.get("uploads/u/0") == b"first second"
    upload.abort()
    assert store.get("uploads/u/0") == b"first second"


def test_an_aborted_upload_leaves_nothing(store: Store) -> None:
    upload = store.upload("uploads/u/0")
    upload.write(b"half")
    upload.abort()
    assert store.size("uploads/u/0") is None
    assert list(store.list("uploads")) == []


def test_listing_yields_all_keys_below_a_prefix_and_no_others(store: Store) -> None:
    for key in ("results/j/a", "results/j/b/c", "results/jj/d"):
        store.put(key, [b"x"])
    assert sorted(store.list("results/j")) == ["results/j/a", "results/j/b/c"]
    assert list(store.list("results/none")) == []


def test_children_are_the_direct_subfolders(store: Store) -> None:
    for key in ("results/j/a/b", "results/k/a", "results/file"):
        store.put(key, [b"x"])
    assert sorted(store.children("results")) == ["j", "k"]
    assert list(store.children("nothing")) == []


def test_delete_removes_an_object_and_accepts_a_missing_one(store: Store) -> None:
    store.put("results/j/a", [b"x"])
    store.delete("results/j/a")
    store.delete("results/j/a")
    assert store.size("results/j/a") is None


def test_delete_removes_several_objects_and_accepts_missing_ones_among_them(store: Store) -> None:
    keys = [f"results/j/{index}" for index in range(1_003)]
    for key in (keys[0], keys[500], keys[-1], "results/j/kept"):
        store.put(key, [b"x"])
    store.delete(*keys)
    assert list(store.list("results/j")) == ["results/j/kept"]


def test_delete_prefix_removes_a_folder_and_no_others(store: Store) -> None:
    for key in ("results/j/a", "results/j/b/c", "results/jj/d"):
        store.put(key, [b"x"])
    store.delete_prefix("results/j")
    store.delete_prefix("results/j")
    assert list(store.list("results/j")) == []
    assert store.get("results/jj/d") == b"x"


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a//b", "a/../b", "..", "a/./b", "a\0b", "a/", ".tmp/a"])
def test_keys_that_could_escape_the_store_are_refused(store: Store, key: str) -> None:
    for use in (store.get, store.size, store.delete, lambda key: store.put(key, [b"x"])):
        with pytest.raises(ValueError, match="is not a key"):
            use(key)


def test_keys_may_have_characters_of_any_script(store: Store) -> None:
    store.put("results/j/fotó 日本 #?%.jpg", [b"x"])
    assert list(store.list("results/j")) == ["results/j/fotó 日本 #?%.jpg"]


@pytest.mark.parametrize("store", [*LOCAL, "web"], indirect=True)  # versitygw does not: its folders are its own
def test_a_folder_is_deleted_while_others_write_to_it_and_delete_it(store: Store) -> None:
    errors: list[Exception] = []
    done = threading.Event()

    def write() -> None:
        try:
            for number in range(100):
                store.put(f"results/j/{number % 7}/{number}", [b"x"])
        except Exception as error:
            errors.append(error)

    def delete() -> None:
        try:
            while not done.is_set():
                store.delete_prefix("results/j")
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=write) for _ in range(3)]
    deleters = [threading.Thread(target=delete) for _ in range(2)]
    for thread in (*writers, *deleters):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in deleters:
        thread.join()
    assert errors == []
    store.delete_prefix("results/j")
    assert list(store.list("results")) == []


def test_readers_see_a_whole_object_while_it_is_replaced(store: Store) -> None:
    sizes = [100_000, 300_000]
    store.put("work/a", [b"0" * sizes[0]])
    done = threading.Event()

    def replace() -> None:
        for turn in range(200):
            store.put("work/a", [b"%d" % (turn % 2) * sizes[turn % 2]])
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    while not done.is_set():
        data = store.get("work/a")
        assert len(data) in sizes
        assert data == data[:1] * len(data)
    writer.join()


def test_volatile_objects_are_objects_like_others(store: Store) -> None:
    store.put("results/job/a", [b"one"], volatile=True)
    upload = store.upload("uploads/u/0", volatile=True)
    upload.write(b"two")
    assert upload.commit() == 3
    assert (store.get("results/job/a"), store.get("uploads/u/0")) == (b"one", b"two")


@pytest.mark.parametrize("volatile", [False, True])
def test_only_volatile_objects_are_not_written_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volatile: bool
) -> None:
    store = LocalStore(tmp_path, fsync=True)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    store.put("results/job/a", [b"one"], volatile=volatile)
    after_put = len(synced)
    store.upload("uploads/u/0", volatile=volatile).commit()
    assert ((after_put > 0), len(synced) > after_put) == (not volatile, not volatile)


def test_check_passes_on_a_store_that_works(store: Store) -> None:
    store.check()
    assert list(store.children("results")) == []


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="the store cannot be used"):
        LocalStore(tmp_path / "file" / "store")


def test_temporary_files_of_dead_writers_can_be_removed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.upload("uploads/u/0")._file.close()
    assert list((tmp_path / ".tmp").iterdir())
    store.remove_temporary_files()
    assert not list((tmp_path / ".tmp").iterdir())

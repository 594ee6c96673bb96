"""Buckets beyond the store's contract: how they are opened, what they repeat, and what they say when they are away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gcs_server import GcsServer
from http_line import HANG_UP, SAY_NOTHING, HttpLine, http_line
from s3_server import SECRET_KEY, S3Server

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.bucket import BucketStore
from penstock.common.store.factory import open_bucket, open_store
from penstock.common.store.local import LocalStore

LARGE = os.urandom(20_000_000)
"""More than travels in one request."""

SHORT_SECS = 2.0
Take = Callable[[dict[str, str]], None]


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Take:
    """Takes variables into the environment, for one test."""

    def take_all(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return take_all


@pytest.fixture
def bucket(s3: S3Server, take: Take) -> str:
    """The URL of an empty bucket that the environment leads to."""
    take(s3.environment)
    return s3.create_bucket()


@pytest.fixture
def line(s3: S3Server, bucket: str, take: Take) -> Iterator[HttpLine]:
    """A line to the server of `bucket`; the environment leads there by it."""
    with http_line(s3.port) as laid:
        take(s3.environment_at(laid.server_port))
        yield laid


def opened(url: str, secs: float = 30.0) -> Store:
    return open_store(StoreSettings(store_url=url, store_timeout_secs=secs), None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/folder", "accepted is one of file:///folder, s3://bucket/prefix"),
        ("photos", "accepted is one of file:///folder, s3://bucket/prefix"),
        ("s3:bucket", "accepted is one of"),
        ("s3://", "it names no bucket; accepted is s3://bucket/prefix"),
        ("gs:///prefix", "it names no bucket; accepted is gs://bucket/prefix"),
        ("az://a b", "it names no bucket; accepted is az://bucket/prefix"),
        ("memory://here", "accepted is memory:// alone"),
        ("file://elsewhere/folder", "accepted is file:///folder"),
        ("file:folder", "accepted is file:///folder"),
        ("file:///", "accepted is file:///folder"),
    ],
)
def test_a_url_that_names_no_store_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        opened(url)
    assert refused.value.message.startswith(repr(url))
    assert "\n" not in refused.value.message


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="names no bucket") as refused:
        opened("s3://key:password@bucket/prefix")
    assert "password" not in refused.value.message


def test_without_a_url_the_store_is_a_folder_in_the_data(tmp_path: Path) -> None:
    store = open_store(StoreSettings(), tmp_path)
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "store"
    with pytest.raises(SettingsError, match="PENSTOCK_STORE_URL is not set"):
        open_store(StoreSettings(), None)


def test_a_folder_by_url_may_have_any_name(tmp_path: Path) -> None:
    store = opened(f"file://localhost{tmp_path}/of%20mine%23")
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "of mine#"


def test_a_container_of_azure_opens_once_the_account_is_named(take: Take) -> None:
    with pytest.raises(SettingsError, match="Account must be specified") as refused:
        opened("az://photos/delft")
    assert "\n" not in refused.value.message
    take({"AZURE_STORAGE_ACCOUNT_NAME": "penstock"})
    assert isinstance(opened("az://photos/delft"), BucketStore)


def test_credentials_that_are_not_there_are_refused_at_opening(take: Take) -> None:
    take({"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/account.json"})
    with pytest.raises(SettingsError, match=r"'gs://photos'.*environment"):
        opened("gs://photos")


def test_the_library_is_loaded_when_a_bucket_is_opened_and_not_before(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from penstock.common.settings import StoreSettings
from penstock.common.store.factory import open_store
open_store(StoreSettings(), Path(sys.argv[1]))
print("obstore" in sys.modules)
open_store(StoreSettings(store_url="memory://"), None)
print("obstore" in sys.modules, "numpy" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True", "False"]


def test_without_the_library_a_bucket_is_refused_by_saying_what_to_install() -> None:
    program = """
import sys
sys.modules["obstore"] = None
from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.factory import open_store
try:
    open_store(StoreSettings(store_url="s3://bucket"), None)
except SettingsError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "'s3://bucket': the library for buckets is missing; pip install obstore brings it\n"


def test_prefixes_of_one_bucket_are_stores_apart(bucket: str) -> None:
    one, other, whole = opened(f"{bucket}/one"), opened(f"{bucket}/other/"), opened(bucket)
    one.put("results/j/a", [b"1"])
    other.put("results/j/a", [b"2"])
    assert whole.get("one/results/j/a") == b"1"
    assert sorted(whole.children("other")) == ["results"]
    one.delete_prefix("results")
    assert list(whole.list("other")) == ["other/results/j/a"]


def test_a_path_in_a_url_is_the_prefix_of_the_bucket_that_is_opened(bucket: str) -> None:
    opened(bucket).put("delft/streets/a.jpg", [b"x"])
    pages = open_bucket(f"{bucket}/delft", StoreSettings()).list()
    assert [entry["path"] for page in pages for entry in page] == ["streets/a.jpg"]


def test_large_objects_travel_in_parts_of_bounded_size(bucket: str, line: HttpLine) -> None:
    store = opened(bucket)
    store.put("work/a", [LARGE[:7], LARGE[7:]])
    assert sum("partNumber=" in request for request in line.requests) == 3
    assert store.get("work/a") == LARGE
    pieces = list(store.stream("work/a"))
    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) <= 1024 * 1024
    assert b"".join(store.stream("work/a", 9_000_000, 18_000_000)) == LARGE[9_000_000:18_000_000]


def test_small_objects_take_one_request_each_way(bucket: str, line: HttpLine) -> None:
    store = opened(bucket)
    store.put("work/a", [b"one", LARGE[:3_000_000]])
    assert b"".join(store.stream("work/a")) == b"one" + LARGE[:3_000_000]
    assert [request.split("/")[0] for request in line.requests] == ["PUT ", "GET "]


def test_an_object_that_is_replaced_while_it_is_streamed_is_never_mixed(bucket: str) -> None:
    store = opened(bucket)
    store.put("work/a", [LARGE])
    pieces = store.stream("work/a")
    next(pieces)
    store.put("work/a", [LARGE[::-1]])
    with pytest.raises(UnavailableError, match="replaced while it was read"):
        list(pieces)


def test_a_range_beyond_the_end_is_empty(bucket: str) -> None:
    store = opened(bucket)
    store.put("work/a", [b"short"])
    assert [list(store.stream("work/a", *span)) for span in ((5,), (9,), (9, 12), (3, 3), (0, 0))] == [[]] * 5
    assert list(store.stream("work/a", 3, 99)) == [b"rt"]


def test_a_large_upload_leaves_nothing_in_the_bucket_until_it_is_committed(s3: S3Server, bucket: str) -> None:
    store = opened(bucket)
    aborted, kept = store.upload("uploads/u/0"), store.upload("uploads/u/1")
    for start in range(0, len(LARGE), 1_000_000):
        aborted.write(LARGE[start : start + 1_000_000])
        kept.write(LARGE[start : start + 1_000_000])
    aborted.abort()
    assert (s3.count_parts(), list(store.list("uploads"))) == (0, [])
    assert kept.commit() == len(LARGE)
    assert (s3.count_parts(), list(store.list("uploads"))) == (0, ["uploads/u/1"])
    assert store.get("uploads/u/1") == LARGE


def test_folders_of_more_than_a_page_are_listed_and_deleted_whole(s3: S3Server, bucket: str, line: HttpLine) -> None:
    store = opened(bucket)
    s3.fill_folder(f"{bucket}/work/0/j", 1_005)
    assert len(set(store.list("work"))) == 1_005
    line.requests.clear()
    store.delete_prefix("work/0/j")
    assert list(store.list("work")) == []
    assert sum("delete" in request for request in line.requests) == 2


def test_two_who_delete_one_folder_are_both_content(gcs: GcsServer, take: Take) -> None:
    take(gcs.environment)
    store = opened(gcs.create_bucket())
    for index in range(50):
        store.put(f"work/0/j/{index}", [b"x"])
    failures: list[BaseException] = []

    def delete() -> None:
        try:
            store.delete_prefix("work/0")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=delete) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(store.list("work")) == []


def test_control_characters_make_no_key(bucket: str) -> None:
    with pytest.raises(ValueError, match="accepts no control characters"):
        opened(bucket).put("results/j/a\nb", [b"x"])


USES: list[Callable[[Store], object]] = [
    lambda store: store.put("work/a", [b"x"]),
    lambda store: store.get("work/a"),
    lambda store: store.size("work/a"),
    lambda store: list(store.list("work")),
    lambda store: store.delete("work/a"),
]


@pytest.mark.parametrize("status", [429, 500, 503, HANG_UP])
def test_a_store_that_refuses_for_a_moment_is_asked_again(bucket: str, line: HttpLine, status: int) -> None:
    store = opened(bucket)
    for use in USES:
        line.requests.clear()
        line.refuse(status, times=2)
        use(store)
        assert len(line.requests) == 3
        assert len(set(line.requests)) == 1


def test_a_store_that_says_nothing_is_asked_again(bucket: str, line: HttpLine) -> None:
    store = opened(bucket, SHORT_SECS)
    for use in USES[:-1]:
        line.requests.clear()
        line.refuse(SAY_NOTHING, times=1)
        use(store)
        assert len(line.requests) == 2


def test_a_delete_that_nobody_answers_is_unavailable(bucket: str, line: HttpLine) -> None:
    """To the library it is no request that may be repeated; sweeps come again."""
    line.refuse(SAY_NOTHING)
    with pytest.raises(UnavailableError, match="does not answer in time"):
        opened(bucket, SHORT_SECS).delete("work/a")


def test_a_large_object_survives_a_store_that_refuses_for_a_moment(bucket: str, line: HttpLine) -> None:
    store = opened(bucket)
    line.refuse(503, times=3)
    store.put("work/a", [LARGE])
    line.refuse(503, times=3)
    assert b"".join(store.stream("work/a")) == LARGE


def test_a_store_that_stays_away_is_unavailable_within_the_time(bucket: str, line: HttpLine) -> None:
    store = opened(bucket, SHORT_SECS)
    line.refuse(503)
    for use in (store.check, lambda: store.get("a"), lambda: store.size("a"), lambda: list(store.list("a"))):
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match=r"^the store cannot be used: it answers with status 503"):
            use()
        assert time.monotonic() - begun < 10 * SHORT_SECS, "left alone, the library goes on for three minutes"


def test_a_store_that_nobody_answers_for_is_unavailable(s3: S3Server, take: Take) -> None:
    take(s3.environment_at(1))
    with pytest.raises(UnavailableError, match="cannot be reached") as failed:
        opened("s3://bucket", SHORT_SECS).check()
    assert "127.0.0.1" not in failed.value.message


def test_a_bucket_that_is_not_there_is_no_missing_object(bucket: str) -> None:
    store = opened("s3://no-such-bucket")
    for use in (store.check, lambda: store.get("a"), lambda: store.stream("a"), lambda: list(store.list("a"))):
        with pytest.raises(UnavailableError, match="there is no such bucket"):
            use()
    with pytest.raises(ObjectNotFoundError):
        opened(bucket).get("a")


def test_wrong_credentials_are_unavailable_and_never_told(bucket: str, take: Take) -> None:
    take({"AWS_SECRET_ACCESS_KEY": "wrong"})
    store = opened(bucket)
    for use in (store.check, lambda: store.get("a"), lambda: store.size("a"), lambda: list(store.list("a"))):
        with pytest.raises(UnavailableError, match="it refuses our credentials") as failed:
            use()
        assert "\n" not in failed.value.message
        assert "wrong" not in failed.value.message
        assert SECRET_KEY not in failed.value.message


def test_an_endpoint_that_is_no_url_is_unavailable_and_ends_nothing(bucket: str, take: Take) -> None:
    take({"AWS_ENDPOINT_URL": "localhost:9000"})
    with pytest.raises(UnavailableError, match="accepted is http"):
        opened(bucket).check()

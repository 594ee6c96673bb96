"""Bucket stores beyond the contract: opening, multipart transfers, retries and errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gcs_server import GcsServer
from http_proxy import DISCONNECT, NO_RESPONSE, HttpProxy, http_proxy
from s3_server import SECRET_KEY, S3Server

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.bucket import BucketStore
from penstock.common.store.factory import open_bucket, open_store
from penstock.common.store.local import LocalStore

LARGE = os.urandom(20_000_000)
"""More than fits into one request."""

SHORT_SECS = 2.0
SetEnvironment = Callable[[dict[str, str]], None]


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch) -> SetEnvironment:
    """Sets environment variables for one test."""

    def set_all(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def bucket(s3: S3Server, set_environment: SetEnvironment) -> str:
    """The URL of an empty bucket; the environment has its endpoint and credentials."""
    set_environment(s3.environment)
    return s3.create_bucket()


@pytest.fixture
def line(s3: S3Server, bucket: str, set_environment: SetEnvironment) -> Iterator[HttpProxy]:
    """A proxy in front of the server of `bucket`; the environment has its endpoint."""
    with http_proxy(s3.port) as laid:
        set_environment(s3.environment_at(laid.server_port))
        yield laid


def open_url(url: str, secs: float = 30.0) -> Store:
    return open_store(StoreSettings(store_url=url, store_timeout_secs=secs), None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/folder", "accepted is one of file:///folder, s3://bucket/prefix"),
        ("photos", "accepted is one of file:///folder, s3://bucket/prefix"),
        ("s3:bucket", "accepted is one of"),
        ("s3://", "not a bucket; accepted is s3://bucket/prefix"),
        ("gs:///prefix", "not a bucket; accepted is gs://bucket/prefix"),
        ("az://a b", "not a bucket; accepted is az://bucket/prefix"),
        ("memory://here", "accepted is memory:// alone"),
        ("file://elsewhere/folder", "accepted is file:///folder"),
        ("file:folder", "accepted is file:///folder"),
        ("file:///", "accepted is file:///folder"),
    ],
)
def test_an_invalid_url_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        open_url(url)
    assert refused.value.message.startswith(repr(url))
    assert "\n" not in refused.value.message


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="not a bucket") as refused:
        open_url("s3://key:password@bucket/prefix")
    assert "password" not in refused.value.message


def test_without_a_url_the_store_is_a_folder_in_the_data_folder(tmp_path: Path) -> None:
    store = open_store(StoreSettings(), tmp_path)
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "store"
    with pytest.raises(SettingsError, match="PENSTOCK_STORE_URL is not set"):
        open_store(StoreSettings(), None)


def test_a_file_url_is_percent_decoded(tmp_path: Path) -> None:
    store = open_url(f"file://localhost{tmp_path}/of%20mine%23")
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "of mine#"


def test_an_azure_container_needs_the_name_of_the_account(set_environment: SetEnvironment) -> None:
    with pytest.raises(SettingsError, match="Account must be specified") as refused:
        open_url("az://photos/delft")
    assert "\n" not in refused.value.message
    set_environment({"AZURE_STORAGE_ACCOUNT_NAME": "penstock"})
    assert isinstance(open_url("az://photos/delft"), BucketStore)


def test_missing_credentials_are_refused_when_the_store_is_opened(set_environment: SetEnvironment) -> None:
    set_environment({"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/account.json"})
    with pytest.raises(SettingsError, match=r"'gs://photos'.*environment"):
        open_url("gs://photos")


def test_obstore_is_imported_only_when_a_bucket_is_opened(tmp_path: Path) -> None:
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


def test_without_obstore_the_error_says_what_to_install() -> None:
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
    assert ran.stdout == "'s3://bucket': the library for buckets is missing; pip install obstore\n"


def test_prefixes_of_one_bucket_are_separate_stores(bucket: str) -> None:
    one, other, whole = open_url(f"{bucket}/one"), open_url(f"{bucket}/other/"), open_url(bucket)
    one.put("results/j/a", [b"1"])
    other.put("results/j/a", [b"2"])
    assert whole.get("one/results/j/a") == b"1"
    assert sorted(whole.children("other")) == ["results"]
    one.delete_prefix("results")
    assert list(whole.list("other")) == ["other/results/j/a"]


def test_the_path_of_a_url_is_the_prefix_of_the_bucket(bucket: str) -> None:
    open_url(bucket).put("delft/streets/a.jpg", [b"x"])
    pages = open_bucket(f"{bucket}/delft", StoreSettings()).list()
    assert [entry["path"] for page in pages for entry in page] == ["streets/a.jpg"]


def test_large_objects_are_sent_in_parts_of_bounded_size(bucket: str, line: HttpProxy) -> None:
    store = open_url(bucket)
    store.put("work/a", [LARGE[:7], LARGE[7:]])
    assert sum("partNumber=" in request for request in line.requests) == 3
    assert store.get("work/a") == LARGE
    pieces = list(store.stream("work/a"))
    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) <= 1024 * 1024
    assert b"".join(store.stream("work/a", 9_000_000, 18_000_000)) == LARGE[9_000_000:18_000_000]


def test_small_objects_take_one_request_to_write_and_one_to_read(bucket: str, line: HttpProxy) -> None:
    store = open_url(bucket)
    store.put("work/a", [b"one", LARGE[:3_000_000]])
    assert b"".join(store.stream("work/a")) == b"one" + LARGE[:3_000_000]
    assert [request.split("/")[0] for request in line.requests] == ["PUT ", "GET "]


def test_an_object_that_is_replaced_while_it_is_streamed_is_an_error(bucket: str) -> None:
    store = open_url(bucket)
    store.put("work/a", [LARGE])
    pieces = store.stream("work/a")
    next(pieces)
    store.put("work/a", [LARGE[::-1]])
    with pytest.raises(UnavailableError, match="replaced while it was read"):
        list(pieces)


def test_a_range_beyond_the_end_is_empty(bucket: str) -> None:
    store = open_url(bucket)
    store.put("work/a", [b"short"])
    assert [list(store.stream("work/a", *span)) for span in ((5,), (9,), (9, 12), (3, 3), (0, 0))] == [[]] * 5
    assert list(store.stream("work/a", 3, 99)) == [b"rt"]


def test_a_large_upload_leaves_nothing_in_the_bucket_before_commit(s3: S3Server, bucket: str) -> None:
    store = open_url(bucket)
    aborted, kept = store.upload("uploads/u/0"), store.upload("uploads/u/1")
    for start in range(0, len(LARGE), 1_000_000):
        aborted.write(LARGE[start : start + 1_000_000])
        kept.write(LARGE[start : start + 1_000_000])
    aborted.abort()
    assert (s3.count_parts(), list(store.list("uploads"))) == (0, [])
    assert kept.commit() == len(LARGE)
    assert (s3.count_parts(), list(store.list("uploads"))) == (0, ["uploads/u/1"])
    assert store.get("uploads/u/1") == LARGE


def test_folders_of_more_than_one_page_are_listed_and_deleted_completely(
    s3: S3Server, bucket: str, line: HttpProxy
) -> None:
    store = open_url(bucket)
    s3.fill_folder(f"{bucket}/work/0/j", 1_005)
    assert len(set(store.list("work"))) == 1_005
    line.requests.clear()
    store.delete_prefix("work/0/j")
    assert list(store.list("work")) == []
    assert sum("delete" in request for request in line.requests) == 2


def test_several_threads_may_delete_the_same_folder(gcs: GcsServer, set_environment: SetEnvironment) -> None:
    set_environment(gcs.environment)
    store = open_url(gcs.create_bucket())
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


def test_keys_with_control_characters_are_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match="accepts no control characters"):
        open_url(bucket).put("results/j/a\nb", [b"x"])


CALLS: list[Callable[[Store], object]] = [
    lambda store: store.put("work/a", [b"x"]),
    lambda store: store.get("work/a"),
    lambda store: store.size("work/a"),
    lambda store: list(store.list("work")),
    lambda store: store.delete("work/a"),
]


@pytest.mark.parametrize("status", [429, 500, 503, DISCONNECT])
def test_a_request_that_fails_for_a_moment_is_retried(bucket: str, line: HttpProxy, status: int) -> None:
    store = open_url(bucket)
    for call in CALLS:
        line.requests.clear()
        line.refuse(status, times=2)
        call(store)
        assert len(line.requests) == 3
        assert len(set(line.requests)) == 1


def test_a_request_without_a_response_is_retried(bucket: str, line: HttpProxy) -> None:
    store = open_url(bucket, SHORT_SECS)
    for call in CALLS[:-1]:
        line.requests.clear()
        line.refuse(NO_RESPONSE, times=1)
        call(store)
        assert len(line.requests) >= 2
        assert len(set(line.requests)) == 1


def test_a_delete_without_a_response_is_unavailable(bucket: str, line: HttpProxy) -> None:
    """obstore does not retry it; the garbage collector comes again."""
    line.refuse(NO_RESPONSE)
    with pytest.raises(UnavailableError, match="does not answer in time"):
        open_url(bucket, SHORT_SECS).delete("work/a")


def test_transfers_of_large_objects_are_retried(bucket: str, line: HttpProxy) -> None:
    store = open_url(bucket)
    line.refuse(503, times=3)
    store.put("work/a", [LARGE])
    line.refuse(503, times=3)
    assert b"".join(store.stream("work/a")) == LARGE


def test_a_store_that_keeps_failing_is_unavailable(bucket: str, line: HttpProxy) -> None:
    store = open_url(bucket, SHORT_SECS)
    line.refuse(503)
    for call in (store.check, lambda: store.get("a"), lambda: store.size("a"), lambda: list(store.list("a"))):
        with pytest.raises(UnavailableError, match=r"^the store cannot be used: it answers with status 503"):
            call()


def test_an_unreachable_store_is_unavailable(s3: S3Server, set_environment: SetEnvironment) -> None:
    set_environment(s3.environment_at(1))
    with pytest.raises(UnavailableError, match="unreachable") as failed:
        open_url("s3://bucket", SHORT_SECS).check()
    assert "127.0.0.1" not in failed.value.message


def test_a_missing_bucket_is_not_a_missing_object(bucket: str) -> None:
    store = open_url("s3://no-such-bucket")
    for call in (store.check, lambda: store.get("a"), lambda: store.stream("a"), lambda: list(store.list("a"))):
        with pytest.raises(UnavailableError, match="there is no such bucket"):
            call()
    with pytest.raises(ObjectNotFoundError):
        open_url(bucket).get("a")


def test_wrong_credentials_are_unavailable_and_never_shown(bucket: str, set_environment: SetEnvironment) -> None:
    set_environment({"AWS_SECRET_ACCESS_KEY": "wrong"})
    store = open_url(bucket)
    for call in (store.check, lambda: store.get("a"), lambda: store.size("a"), lambda: list(store.list("a"))):
        with pytest.raises(UnavailableError, match="it refuses the credentials") as failed:
            call()
        assert "\n" not in failed.value.message
        assert "wrong" not in failed.value.message
        assert SECRET_KEY not in failed.value.message


def test_an_endpoint_that_is_not_a_url_is_unavailable(bucket: str, set_environment: SetEnvironment) -> None:
    set_environment({"AWS_ENDPOINT_URL": "localhost:9000"})
    with pytest.raises(UnavailableError, match="accepted is http"):
        open_url(bucket).check()

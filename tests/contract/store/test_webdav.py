"""WebDAV store beyond the contract: requests, retries and errors, and what nginx refuses."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import httpx
import pytest
from http_proxy import DISCONNECT, NO_RESPONSE, HttpProxy, http_proxy
from nginx_server import UNREACHABLE, NginxServer
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import Store
from penstock.common.store.bucket_allowlist import BucketAllowlist, SourceForbiddenError
from penstock.common.store.factory import open_store

LARGE = os.urandom(20_000_000)
"""More than is sent by obstore."""

SHORT_SECS = 1.0


def open_url(url: str, token: str | None, secs: float = 30.0) -> Store:
    return open_store(StoreSettings(store_url=url, store_token=token, store_timeout_secs=secs), None)


@pytest.fixture
def store(web: NginxServer) -> Store:
    return open_url(web.create_bucket(), web.token)


@pytest.fixture
def line(web: NginxServer) -> Iterator[HttpProxy]:
    """A proxy in front of the server, which can refuse requests."""
    with http_proxy(web.port) as laid:
        yield laid


@pytest.fixture
def proxied(web: NginxServer, line: HttpProxy) -> Store:
    """An empty store behind `line`."""
    return open_url(web.create_bucket().replace(str(web.port), str(line.server_port)), web.token, SHORT_SECS)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a%20b",
        "%2e%2e",
        "a+b",
        "a?b=c&d",
        "a#b",
        "a;b",
        "a\\b",
        "c'\"<>^`{|}~",
        "é 日本",
        "a..",
        ":",
        "@",
        "%",
        "*",
    ],
)
def test_names_with_any_characters_survive_a_round_trip(store: Store, name: str) -> None:
    for key, data in ((f"results/{name}/{name}", b"small"), (f"results/{name}/big {name}", LARGE)):
        store.put(key, [data])
        assert b"".join(store.stream(key, 3)) == data[3:]
        assert store.get(key) == data
    assert sorted(store.list("results")) == sorted([f"results/{name}/{name}", f"results/{name}/big {name}"])
    assert list(store.children("results")) == [name]
    store.delete(f"results/{name}/{name}")
    assert list(store.list(f"results/{name}")) == [f"results/{name}/big {name}"]
    store.delete_prefix(f"results/{name}")
    assert list(store.children("results")) == []


def test_a_large_object_is_written_in_one_request_and_read_in_several(proxied: Store, line: HttpProxy) -> None:
    proxied.put("work/a", [LARGE[:7], LARGE[7:]])
    assert len(line.requests) == 1
    assert proxied.get("work/a") == LARGE
    assert len(line.requests) == 5


def test_an_upload_of_any_size_takes_little_memory(store: Store) -> None:
    upload = store.upload("uploads/u/0")
    for _ in range(4):
        upload.write(LARGE)
    tracemalloc.start()
    try:
        assert upload.commit() == 4 * len(LARGE)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < len(LARGE) / 4
    assert store.size("uploads/u/0") == 4 * len(LARGE)


def test_half_an_object_is_never_visible(web: NginxServer, store: Store) -> None:
    folder = web.create_bucket().removeprefix(web.url)
    other = open_url(f"{web.url}{folder}", web.token)
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        head = f"PUT {folder}/work/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {web.token}\r\n"
        connection.sendall(f"{head}Content-Length: 600000\r\n\r\n".encode() + bytes(300_000))
        wait_until(lambda: any((web.volume / ".tmp").iterdir()))
        assert other.size("work/a") is None
        assert list(other.list("work")) == []
    wait_until(lambda: not any((web.volume / ".tmp").iterdir()))
    assert other.size("work/a") is None


CALLS: list[Callable[[Store], object]] = [
    lambda store: store.put("work/a", [b"x"]),
    lambda store: store.put("work/a", [LARGE]),
    lambda store: store.size("work/a"),
    lambda store: list(store.list("work")),
    lambda store: list(store.children("work")),
    lambda store: store.delete("work/a"),
    lambda store: store.delete_prefix("work"),
]


@pytest.mark.parametrize("status", [429, 500, 503, DISCONNECT])
def test_a_request_that_fails_for_a_moment_is_retried(proxied: Store, line: HttpProxy, status: int) -> None:
    for call in CALLS:
        line.requests.clear()
        line.refuse(status, times=1)
        call(proxied)
        assert len(line.requests) == 2
        assert len(set(line.requests)) == 1


@pytest.mark.parametrize(
    ("refusal", "said"),
    [(507, "the store is full"), (403, "it refuses the credentials"), (NO_RESPONSE, "unreachable")],
)
def test_a_server_that_keeps_failing_is_unavailable(proxied: Store, line: HttpProxy, refusal: int, said: str) -> None:
    line.refuse(refusal)
    for call in (CALLS[1], CALLS[3], CALLS[6]):
        with pytest.raises(UnavailableError, match=said):
            call(proxied)


def test_an_unreachable_server_is_unavailable() -> None:
    for call in CALLS:
        with pytest.raises(UnavailableError, match="unreachable") as failed:
            call(open_url(f"http://{UNREACHABLE}", "x", 0.5))
        assert UNREACHABLE not in failed.value.message


def test_a_listing_that_is_not_json_is_unavailable(proxied: Store, line: HttpProxy) -> None:
    line.refuse(200)
    with pytest.raises(UnavailableError, match="is not JSON"):
        list(proxied.list("work"))


@pytest.mark.parametrize("token", [None, "wrong"])
def test_every_request_needs_the_token(web: NginxServer, token: str | None) -> None:
    store = open_url(web.create_bucket(), token)
    for call in (store.check, *(lambda call=call: call(store) for call in CALLS)):
        with pytest.raises(UnavailableError, match="it refuses the credentials") as failed:
            call()
        assert web.token not in failed.value.message
        assert "wrong" not in failed.value.message


def test_a_folder_may_be_deleted_by_several_threads_while_it_is_written(store: Store) -> None:
    for index in range(50):
        store.put(f"work/0/{index}/a", [b"x"])
    failures: list[BaseException] = []

    def delete() -> None:
        try:
            store.delete_prefix("work/0")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=delete) for _ in range(3)]
    for thread in threads:
        thread.start()
    for index in range(50):
        store.put(f"work/0/late/{index}", [b"x"])
    for thread in threads:
        thread.join()
    store.delete_prefix("work/0")
    assert failures == []
    assert list(store.list("work")) == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/", 409),
        ("MKCOL", "/new/", 405),
        ("MOVE", "/kept/a", 405),
        ("COPY", "/kept/a", 405),
        ("GET", "/.tmp/", 404),
        ("PUT", "/.tmp/a", 404),
        ("GET", "/..%2f..%2fetc/passwd", 400),
        ("GET", "/kept", 404),
    ],
)
def test_the_server_refuses_everything_that_a_store_does_not_need(
    web: NginxServer, method: str, path: str, status: int
) -> None:
    open_url(f"{web.url}/kept", web.token).put("a", [b"x"])
    headers = {"Authorization": f"Bearer {web.token}", "Destination": f"{web.url}/elsewhere"}
    answer = httpx.request(method, f"{web.url}{path}", headers=headers)
    assert answer.status_code == status
    assert (web.volume / "kept" / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///folder",
        "http://user:password@host/",
        "http://host/a?b=c",
        "http://host/a#b",
        "http://host/a/../b",
        "http://host/a//b",
        "http://host/a%2f..",
        "http://host:port/",
        "http://host:99999/",
        "https://host\r\nX-Other: 1/",
    ],
)
def test_an_invalid_url_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(SettingsError, match="accepted is http://host:port/prefix") as refused:
        open_url(url, None)
    assert "\n" not in refused.value.message
    assert "password" not in refused.value.message


def test_a_token_that_is_not_a_valid_header_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="PENSTOCK_STORE_TOKEN: accepted are") as refused:
        open_url("http://host", "secret\r\nX-Other: 1")
    assert "secret" not in refused.value.message


def test_jobs_may_not_use_web_addresses_not_even_the_stores(web: NginxServer) -> None:
    buckets = BucketAllowlist.from_settings(StoreSettings(store_url=web.url))
    for url in (f"{web.url}/uploads/u/0", "http://169.254.169.254/latest/meta-data", "https://host/a.jpg"):
        with pytest.raises(SourceForbiddenError, match="is not allowed"):
            buckets.check(url)
    with pytest.raises(SettingsError, match="is not a folder of a bucket"):
        BucketAllowlist.from_settings(StoreSettings(store_url=web.url, sources=(f"{web.url}/",)))

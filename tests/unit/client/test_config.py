"""Client configuration: the server's URL, key, certificates and proxies."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from penstock.client import AsyncClient, Client
from penstock.client.config import authorization, check_listening
from penstock.client.errors import LocalFileError, UnavailableError
from penstock.common.settings import SettingsError


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "http://",
        "http://a:b",
        "http://a:0",
        "http://a:65536",
        "http://[::1",
        "http://a\nb",
        "http://-é-",
        "http://a?b",
    ],
)
def test_a_url_of_no_server_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="is not the URL of a server"):
        Client(url)


def test_a_url_with_a_user_is_refused_without_showing_the_password() -> None:
    with pytest.raises(SettingsError, match="contains a user") as caught:
        Client("http://me:secret@host")
    assert "secret" not in caught.value.message


def test_a_server_may_be_below_a_path() -> None:
    assert Client("http://host:1/below/").server == "http://host:1/below"


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    for name in ("none.pem", "text.pem"):
        with pytest.raises(LocalFileError, match="no certificates"):
            Client("https://host", verify=tmp_path / name)
    Client("https://host", verify=False)


def test_an_invalid_proxy_is_reported_unless_the_server_is_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy:1")
    for client in (Client, AsyncClient):
        with pytest.raises(SettingsError, match="invalid proxy in the environment: Unknown scheme"):
            client("http://host")
        for url in ("http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"):
            client(url)


def test_whitespace_around_a_key_is_removed() -> None:
    assert authorization(" pk_1\n") == {"Authorization": "Bearer pk_1"}
    assert authorization("\n") == {}


@pytest.mark.parametrize("key", ["pk\r\nX: y", "pk_é"])
def test_an_invalid_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(SettingsError, match="printable ASCII") as caught:
        Client("http://host", api_key=key)
    assert "pk" not in caught.value.message


def test_a_server_may_be_named_by_host_and_port_alone() -> None:
    assert Client("localhost:9000").server == "http://localhost:9000"
    assert Client("10.0.0.5").server == "http://10.0.0.5"


def test_that_nothing_listens_on_this_host_is_found_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        check_listening(url)
    with pytest.raises(UnavailableError, match="is `penstock serve` running"):
        check_listening(url)
    check_listening("http://host.invalid")

"""One `penstock serve` for all tests of the client, and a proxy to it that fails on demand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from http_proxy import HttpProxy, http_proxy

from penstock.client import Client
from penstock.local.server_process import find_free_port, serve


@pytest.fixture(scope="session")
def port_of() -> Callable[[str], int]:
    """Return a URL's port."""

    def read(url: str) -> int:
        port = urlsplit(url).port
        assert port is not None
        return port

    return read


@pytest.fixture
def unused_port() -> int:
    """A port that nothing listens on."""
    return find_free_port()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[str]:
    """The URL of a server with two workers."""
    folder = tmp_path_factory.mktemp("server")
    options = ["--data", str(folder / "data"), "--workers", "2"]
    variables = {
        **environment,
        "PENSTOCK_WEBHOOK_ALLOW": '["http://127.0.0.1/32"]',
        "PENSTOCK_WEBHOOK_FIRST_PAUSE_SECS": "0.1",
    }
    with serve(options, port=find_free_port(), environment=variables, log=folder / "log") as (url, _):
        yield url


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    """A client of that server."""
    with Client(server, patience_secs=20) as client:
        yield client


@pytest.fixture
def proxy(server: str, port_of: Callable[[str], int]) -> Iterator[HttpProxy]:
    """A proxy to that server, which refuses requests and breaks connections on demand."""
    with http_proxy(port_of(server)) as proxy:
        yield proxy


@pytest.fixture
def image_folder(tmp_path: Path, drawn: list[Path]) -> Path:
    """A folder with six images, two of them in a subfolder."""
    folder = tmp_path / "images"
    (folder / "north").mkdir(parents=True)
    for index, path in enumerate(drawn):
        shutil.copy(path, folder / ("north" if index < 2 else "") / path.name)
    return folder


@pytest.fixture
def uploaded_files(proxy: HttpProxy) -> Callable[[], list[str]]:
    """Return the requests through the proxy that uploaded a file."""
    return lambda: [request for request in proxy.requests if request.startswith("PUT ")]

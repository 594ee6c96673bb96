"""Fixtures for all tests: images, servers, and skipping tests of missing services."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import postgres_server
import pytest
import rabbitmq_server
from containers import postgres_container, rabbitmq_container
from gcs_server import GcsServer, running_gcs
from nginx_server import NginxServer, running_nginx
from postgres_server import PostgresServer, running_postgres
from rabbitmq_server import RabbitServer, running_rabbitmq
from s3_server import S3Server, running_s3
from small_disk import Mount, small_disk

from penstock.local.sample_images import write_images

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data"
SAMPLE_IMAGES = 6
SAMPLE_SIZE = (320, 240)

# A shell that starts the tests in the background makes them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of third-party photographs; without it, tests that need it are skipped."""
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("no photographs: ../shared/data is not there")
    return PHOTOGRAPHS


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six sample JPEGs of 320×240, `photo-0000.jpg` and so on; read-only."""
    return write_images(tmp_path_factory.mktemp("drawn"), SAMPLE_IMAGES, *SAMPLE_SIZE)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small disk, which is the folder `disk` of `tmp_path`."""
    with small_disk(tmp_path / "disk") as mount:
        yield mount


@pytest.fixture(scope="session")
def without_service() -> Callable[[str], NoReturn]:
    """Skips a test because of a missing service, or fails it if `CI` is true."""
    return _skip_or_fail


def _skip_or_fail(what: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI needs every service")
    pytest.skip(what)


@pytest.fixture(scope="session")
def postgres_package(without_service: Callable[[str], NoReturn]) -> Iterator[PostgresServer]:
    """The PostgreSQL that is installed on this host."""
    with running_postgres() as server:
        if server is None:
            without_service("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
        yield server


@pytest.fixture(scope="session")
def postgres_image(without_service: Callable[[str], NoReturn]) -> Iterator[PostgresServer]:
    """A newer PostgreSQL, in a container."""
    with postgres_container() as server:
        if server is None:
            without_service("there is no Docker, or no image of PostgreSQL (see CONTRIBUTING.md)")
        yield server


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """A PostgreSQL server, installed or in a container. A test that stops it must restart it."""
    return request.getfixturevalue("postgres_package" if postgres_server.find_programs() else "postgres_image")


@pytest.fixture(scope="session")
def rabbitmq_package(without_service: Callable[[str], NoReturn]) -> Iterator[RabbitServer]:
    """The RabbitMQ that is installed on this host."""
    with running_rabbitmq() as server:
        if server is None:
            without_service("no RabbitMQ server is installed (Debian: apt-get install rabbitmq-server)")
        yield server


@pytest.fixture(scope="session")
def rabbitmq_image(without_service: Callable[[str], NoReturn]) -> Iterator[RabbitServer]:
    """A RabbitMQ of version 4, in a container."""
    with rabbitmq_container() as server:
        if server is None:
            without_service("there is no Docker, or no image of RabbitMQ (see CONTRIBUTING.md)")
        yield server


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> RabbitServer:
    """A RabbitMQ server, installed or in a container. A test that stops it must restart it."""
    return request.getfixturevalue("rabbitmq_package" if rabbitmq_server.find_programs() else "rabbitmq_image")


@pytest.fixture(scope="session")
def s3(without_service: Callable[[str], NoReturn]) -> Iterator[S3Server]:
    """An S3 server; tests add its `environment` to their own."""
    with running_s3() as server:
        if server is None:
            without_service("versitygw is neither installed nor can Go build it")
        yield server


@pytest.fixture(scope="session")
def gcs(without_service: Callable[[str], NoReturn]) -> Iterator[GcsServer]:
    """A Google Cloud Storage server; tests add its `environment` to their own."""
    with running_gcs() as server:
        if server is None:
            without_service("fake-gcs-server is neither installed nor can Go build it")
        yield server


@pytest.fixture(scope="session")
def web(without_service: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxServer]:
    """An nginx with a store, without a coordinator; tests add its `environment` to their own."""
    with running_nginx(tmp_path_factory.mktemp("web")) as server:
        if server is None:
            without_service("nginx is not installed, and there is no Docker or no image of it (see CONTRIBUTING.md)")
        yield server

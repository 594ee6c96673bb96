"""Servers that the runs share, each started when it is first needed."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from containers import rabbitmq_container
from http_proxy import HttpProxy, http_proxy
from postgres_server import PostgresServer, running_postgres
from rabbitmq_server import RabbitServer, running_rabbitmq
from s3_server import S3Server, running_s3
from small_disk import small_disk
from system import Deployment

T = TypeVar("T")
BROKERS = {"3": running_rabbitmq, "4": rabbitmq_container}


@dataclass(frozen=True)
class Backends:
    """The kinds of servers that a run uses."""

    rabbitmq: str = "3"
    database: str = "sqlite"
    store: str = "file"

    def __str__(self) -> str:
        return f"RabbitMQ {self.rabbitmq}, {self.database}, {self.store}"


class MissingServerError(Exception):
    """A server that a run needs is not installed."""


@dataclass
class Servers:
    """Servers, which are stopped with the `stack`."""

    folder: Path
    stack: ExitStack
    brokers: dict[str, RabbitServer] = field(default_factory=dict)
    """Running RabbitMQ servers by version."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @cached_property
    def postgres(self) -> PostgresServer:
        """PostgreSQL."""
        return _present(self.stack.enter_context(running_postgres()), "PostgreSQL")

    @cached_property
    def s3(self) -> S3Server:
        """An S3 server."""
        return _present(self.stack.enter_context(running_s3()), "versitygw")

    @cached_property
    def s3_proxy(self) -> HttpProxy:
        """The proxy in front of the S3 server."""
        proxy = self.stack.enter_context(http_proxy(self.s3.port))
        proxy.handle_error = lambda *_: None  # type: ignore[method-assign]  # processes that are killed hang up
        return proxy

    def rabbitmq(self, kind: str) -> RabbitServer:
        """Return the server of a version: 3 is Debian's package, 4 runs in a container."""
        if kind not in self.brokers:
            server = self.stack.enter_context(BROKERS[kind]())
            self.brokers[kind] = _present(server, f"RabbitMQ {kind}")
        return self.brokers[kind]

    def make_deployment(self, backends: Backends, inputs: Path, disk: str = "") -> Deployment:
        """Return a deployment with a new folder, database and store; a folder may get a disk of some size.

        Raises:
            MissingServerError: a server is not installed.
        """
        folder = self.folder / f"run-{next(self.numbers)}"
        folder.mkdir()
        rabbitmq = self.rabbitmq(backends.rabbitmq)
        database = self.postgres.create_database() if backends.database == "postgresql" else None
        if backends.store == "file":
            store = folder / "store"
            if disk:
                self.stack.enter_context(small_disk(store))(f"size={disk}")
            return Deployment(folder, inputs, rabbitmq, store.as_uri(), store, database)
        bucket = self.s3.create_bucket()
        return Deployment(
            folder,
            inputs,
            rabbitmq,
            bucket,
            self.s3.folder_of(bucket),
            database,
            self.s3.environment_at(self.s3_proxy.server_port),
        )


def _present(server: T | None, what: str) -> T:
    if server is None:
        raise MissingServerError(f"{what} is not installed")
    return server


@contextmanager
def open_servers() -> Iterator[Servers]:
    """Yield servers, with a temporary folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-ledger-")))
        yield Servers(folder, stack)

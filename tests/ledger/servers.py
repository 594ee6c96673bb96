"""The servers that runs stand on: started once, when the first run wants them."""

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
from http_line import HttpLine, http_line
from postgres_server import PostgresServer, running_postgres
from rabbitmq_server import RabbitServer, running_rabbitmq
from s3_server import S3Server, running_s3
from stage import Place

T = TypeVar("T")
BROKERS = {"3": running_rabbitmq, "4": rabbitmq_container}


@dataclass(frozen=True)
class Ground:
    """Which kinds of servers a run stands on."""

    rabbitmq: str = "3"
    database: str = "sqlite"
    store: str = "file"

    def __str__(self) -> str:
        return f"RabbitMQ {self.rabbitmq}, {self.database}, {self.store}"


class MissingError(Exception):
    """A server that a run wants is not here."""


@dataclass
class Servers:
    """Whatever is asked for is started, and stopped with the `stack`."""

    folder: Path
    stack: ExitStack
    brokers: dict[str, RabbitServer] = field(default_factory=dict)
    """RabbitMQ by version, those that run."""
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
    def line(self) -> HttpLine:
        """The line by which the S3 server is reached."""
        line = self.stack.enter_context(http_line(self.s3.port))
        line.handle_error = lambda *_: None  # type: ignore[method-assign]  # processes that are killed hang up
        return line

    def rabbitmq(self, kind: str) -> RabbitServer:
        """Return the server of a version: 3 is Debian's package, 4 runs in a container."""
        if kind not in self.brokers:
            server = self.stack.enter_context(BROKERS[kind]())
            self.brokers[kind] = _present(server, f"RabbitMQ {kind}")
        return self.brokers[kind]

    def make_place(self, ground: Ground, inputs: Path) -> Place:
        """Return a place with a folder, a database and a store that nobody has used.

        Raises:
            MissingError: a server is not here.
        """
        folder = self.folder / f"run-{next(self.numbers)}"
        folder.mkdir()
        rabbitmq = self.rabbitmq(ground.rabbitmq)
        database = self.postgres.create_database() if ground.database == "postgresql" else None
        if ground.store == "file":
            store = folder / "store"
            return Place(folder, inputs, rabbitmq, store.as_uri(), store, database)
        bucket = self.s3.create_bucket()
        return Place(
            folder,
            inputs,
            rabbitmq,
            bucket,
            self.s3.folder_of(bucket),
            database,
            self.s3.environment_at(self.line.server_port),
        )


def _present(server: T | None, what: str) -> T:
    if server is None:
        raise MissingError(f"{what} is not here")
    return server


@contextmanager
def open_servers() -> Iterator[Servers]:
    """Give servers for a while, and a folder that goes with them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-ledger-")))
        yield Servers(folder, stack)

"""Transactions, whatever the database: one writer or many, collisions tried again, errors translated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from penstock.common.backoff import Backoff
from penstock.common.model.errors import UnavailableError
from penstock.coordinator.database.backends import postgresql, sqlite

WRITER_TIMEOUT_SECS = 60
MAX_ATTEMPTS = 6
BACKOFF = Backoff(first_secs=0.03, max_secs=1.0, jitter=2 / 3)

P = ParamSpec("P")
T = TypeVar("T")


class CollisionError(UnavailableError):
    """Two transactions stood in each other's way and the database ended this one; the same again may succeed."""


class Database:
    """Read and write transactions on one database, from any thread.

    SQLite takes one writer at a time: here writers queue on a lock of this process, and each begins IMMEDIATE, so that
    none finds out half way that it must start again. PostgreSQL takes many, from many processes; they meet at the rows
    of the jobs. Readers never wait for them.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = read_url(url)
        is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine: Engine = sqlite.make_engine(self.url) if is_sqlite else postgresql.make_engine(self.url)
        self._reading_engine = self._engine.execution_options(**({} if is_sqlite else postgresql.READING))
        self._writing_engine = self._engine.execution_options(**(sqlite.WRITING if is_sqlite else postgresql.WRITING))
        self._writer = threading.Lock() if is_sqlite else None
        self._closed = False

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work(connection, …)` finds in a transaction that sees one state of the database throughout."""
        with self._translated(), self._reading_engine.begin() as connection:
            return work(connection, *args, **kwargs)

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work(connection, …)` does in a transaction: committed at its end, undone by an exception.

        It is called again from the start after a collision, so it must not use up what it is given.
        """
        for attempt in range(MAX_ATTEMPTS):
            try:
                with self._one_writer(), self._translated(), self._writing_engine.begin() as connection:
                    return work(connection, *args, **kwargs)
            except CollisionError:
                if attempt == MAX_ATTEMPTS - 1:
                    raise
            time.sleep(BACKOFF.delay_secs(attempt))
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Disconnect; any later transaction is refused."""
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=WRITER_TIMEOUT_SECS):
            raise UnavailableError("database", f"another write has held the database for {WRITER_TIMEOUT_SECS} seconds")
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise UnavailableError("database", "the database is closed")
        try:
            yield
        except DBAPIError as error:
            raise translate(error) from error
        except PoolTimeoutError as error:
            raise UnavailableError("database", "all connections to the database are in use") from error


def read_url(url: str | URL) -> URL:
    """Return the address of a database, with the driver that Penstock speaks to it by.

    Raises:
        ValueError: it is no address, or one of a database that Penstock doesn't know.
    """
    accepted = "accepted are sqlite:///PATH and postgresql://USER:PASSWORD@HOST:PORT/NAME"
    try:
        read = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"the database's URL cannot be read; {accepted}") from error
    if read.drivername in ("postgres", "postgresql"):
        read = read.set(drivername=postgresql.DRIVER)
    if read.drivername not in ("sqlite", postgresql.DRIVER):
        raise ValueError(f"{read.drivername!r} is not a database that Penstock knows; {accepted}")
    return read


def translate(error: DBAPIError) -> UnavailableError:
    """Return what a driver's error means to whoever asked; its first line says why."""
    reason = first_line(error)
    if postgresql.is_collision(error):
        return CollisionError("database", f"another transaction was in the way: {reason}")
    return UnavailableError("database", f"the database is unreachable: {reason}")


def first_line(error: SQLAlchemyError) -> str:
    """Return what a driver says first; details, hints and statements follow it."""
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    return next(iter(said.strip().splitlines()), type(error).__name__)

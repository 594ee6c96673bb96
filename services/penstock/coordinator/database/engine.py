"""Connections, transactions and error translation; the only place that knows one database from another."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Insert, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.sql.compiler import SQLCompiler

from penstock.common.errors import UnavailableError

BUSY_TIMEOUT_SECS = 10
WRITER_TIMEOUT_SECS = 60
POOL_TIMEOUT_SECS = 10
IDLE_CONNECTIONS = 8
MORE_CONNECTIONS = 56

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers go on while one writes
    "PRAGMA synchronous = NORMAL",  # a power cut may lose the last commits, never consistency; kill -9 loses nothing
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
)


class Database:
    """Read and write transactions on one database, from any thread.

    SQLite takes one writer at a time: here writers queue on a lock of this process, and each begins IMMEDIATE, so that
    none finds out half way that it must start again. Readers never wait for them.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = make_url(url)
        self._is_sqlite = self.url.get_backend_name() == "sqlite"
        if self._is_sqlite and self.url.database in (None, "", ":memory:"):
            raise ValueError(f"{self.url} is a database of one connection; accepted is a file: sqlite:///PATH")
        self._engine = create_engine(
            self.url,
            pool_size=IDLE_CONNECTIONS,
            max_overflow=MORE_CONNECTIONS,
            pool_timeout=POOL_TIMEOUT_SECS,
            pool_use_lifo=True,
            connect_args={"timeout": BUSY_TIMEOUT_SECS} if self._is_sqlite else {},
        )
        # SQLite's transactions see one state by themselves; elsewhere a reader has to ask for it.
        one_state = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading_engine = self._engine.execution_options(**one_state)
        self._writing_engine = self._engine.execution_options(penstock_writes=True)
        self._writer = threading.Lock()
        self._closed = False
        if self._is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database throughout."""
        with self._translated(), self._reading_engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may change rows; it is committed at the end, or undone by an exception."""
        with self._one_writer(), self._translated(), self._writing_engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Disconnect; any later transaction is refused."""
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        if not self._is_sqlite:
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
            raise UnavailableError("database", f"the database is away: {error.orig}") from error
        except PoolTimeoutError as error:
            raise UnavailableError("database", "all connections to the database are in use") from error


def execute_many(connection: Connection, statement: Insert, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute a statement for very many rows of plain values, which stand in the order of its parameters.

    SQLAlchemy's own way to the driver's `executemany` takes as long again for each row as the database does.
    """
    compiled = _compiled(statement, connection.dialect)
    if compiled.positional:
        connection.exec_driver_sql(compiled.string, list(rows))
    else:
        connection.exec_driver_sql(compiled.string, [dict(zip(compiled.params, row, strict=True)) for row in rows])


@lru_cache(maxsize=16)
def _compiled(statement: Insert, dialect: Dialect) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    return compiled


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin by itself, late and DEFERRED
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("penstock_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""SQLite: its file, and how its transactions begin."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from penstock.common.model.errors import BrokenSetupError

BUSY_TIMEOUT_SECS = 10
POOL_TIMEOUT_SECS = 10
IDLE_CONNECTIONS = 8
MORE_CONNECTIONS = 56

WRITING = {"penstock_writes": True}
"""Execution options of transactions that change rows. All transactions read from one snapshot anyway."""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers and a writer don't block each other
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
)


_PAGES_BYTES = 64 * 1024
"""With less than that, SQLite's files beside the database cannot grow."""


class DatabaseFile:
    """A database's file, which is created. It and those that SQLite makes beside it are for their owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with suppress(OSError):  # SQLite will say what is wrong
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):  # SQLite gives new ones the mode of the database
                os.chmod(f"{path}{suffix}", 0o600)
        self._identity = self._find()

    def check(self) -> None:
        """Raise BrokenSetupError if the file has been deleted or replaced."""
        if self._identity is not None and self._find() != self._identity:
            message = (
                f"{self._path.name} was deleted or replaced while the server runs, which still uses the old file;"
                " stop the server, put the right file in its place, and start the server again"
            )
            raise BrokenSetupError("database", message)

    def free_bytes(self) -> int | None:
        """Return the free bytes of its volume; None if they are unknown."""
        try:
            volume = os.statvfs(self._path.parent)
        except OSError:
            return None
        return volume.f_bavail * volume.f_frsize

    def is_full(self, error: DBAPIError) -> bool:
        """Return whether an error says that its volume is full, or follows from that: some calls only say that they
        failed."""
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            free_bytes = self.free_bytes()
            return free_bytes is not None and free_bytes < _PAGES_BYTES
        return bool(code == sqlite3.SQLITE_FULL)

    def _find(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino


def make_engine(url: URL, file: DatabaseFile, *, fsync: bool) -> Engine:
    """Return the engine for a file; it refuses to connect once the file was replaced.

    Without `fsync`, a power failure may lose the last commits, not consistency. `kill -9` never loses any.
    """
    pragmas = (*_PRAGMAS, f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")

    def prepare(connection: Any, _record: Any) -> None:
        file.check()
        connection.isolation_level = None  # else the driver itself begins transactions, late and DEFERRED
        for pragma in pragmas:
            connection.execute(pragma)

    engine = create_engine(
        url,
        pool_size=IDLE_CONNECTIONS,
        max_overflow=MORE_CONNECTIONS,
        pool_timeout=POOL_TIMEOUT_SECS,
        pool_use_lifo=True,
        connect_args={"timeout": BUSY_TIMEOUT_SECS},
    )
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


def database_file(url: URL) -> DatabaseFile:
    """Return the file of a URL. Raises ValueError if it is in memory."""
    if url.database in (None, "", ":memory:"):
        raise ValueError(
            f"{url} is in memory, where every connection has its own database; accepted is a file: sqlite:///PATH"
        )
    return DatabaseFile(Path(str(url.database)))


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("penstock_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

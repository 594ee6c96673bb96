"""SQLite: its file, and how its transactions begin."""

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

BUSY_TIMEOUT_SECS = 10
POOL_TIMEOUT_SECS = 10
IDLE_CONNECTIONS = 8
MORE_CONNECTIONS = 56

WRITING = {"penstock_writes": True}
"""Execution options of transactions that change rows. All transactions read from one snapshot anyway."""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers and a writer don't block each other
    "PRAGMA synchronous = NORMAL",  # a power failure may lose the last commits, not consistency; kill -9 loses none
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
)


def make_engine(url: URL) -> Engine:
    """Return the engine for a file."""
    if url.database in (None, "", ":memory:"):
        raise ValueError(
            f"{url} is in memory, where every connection has its own database; accepted is a file: sqlite:///PATH"
        )
    engine = create_engine(
        url,
        pool_size=IDLE_CONNECTIONS,
        max_overflow=MORE_CONNECTIONS,
        pool_timeout=POOL_TIMEOUT_SECS,
        pool_use_lifo=True,
        connect_args={"timeout": BUSY_TIMEOUT_SECS},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else the driver itself begins transactions, late and DEFERRED
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("penstock_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""What is SQLite's own: its file, and how its transactions begin."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

BUSY_TIMEOUT_SECS = 10
POOL_TIMEOUT_SECS = 10
IDLE_CONNECTIONS = 8
MORE_CONNECTIONS = 56

WRITING = {"penstock_writes": True}
"""Execution options of transactions that may change rows. Every transaction sees one state by itself."""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers go on while one writes
    "PRAGMA synchronous = NORMAL",  # a power cut may lose the last commits, never consistency; kill -9 loses nothing
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
)


def make_engine(url: URL) -> Engine:
    """Return the engine of a file."""
    if url.database in (None, "", ":memory:"):
        raise ValueError(f"{url} is a database of one connection; accepted is a file: sqlite:///PATH")
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
    connection.isolation_level = None  # the driver would begin by itself, late and DEFERRED
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("penstock_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""What is PostgreSQL's own: connections that end rather than wait for ever, and collisions worth another try."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError

DRIVER = "postgresql+psycopg"
POOL_TIMEOUT_SECS = 10
IDLE_CONNECTIONS = 5
MORE_CONNECTIONS = 15  # several coordinators share the 100 that a server allows by default

READING: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of transactions that see one state throughout."""
WRITING: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
"""Execution options of those that may change rows. What they read they have locked, or read after they locked a job."""

_SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",  # a process that was stopped in the middle holds nobody up
    # Every join here is a thousand rows looked up by a key. Without fresh statistics, and a job's images are always
    # fresh, the planner would rather read the whole table.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "random_page_cost": "1.1",
}
_CONNECTION: dict[str, Any] = {
    "application_name": "penstock",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "client_encoding": "utf8",  # a server whose own is SQL_ASCII would give bytes for text
    "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
}
_SERIALIZATION_FAILURE = "40001"
_DEADLOCK_DETECTED = "40P01"


def make_engine(url: URL) -> Engine:
    """Return the engine of a server; what its URL says of a connection goes before what stands here."""
    return create_engine(
        url,
        pool_size=IDLE_CONNECTIONS,
        max_overflow=MORE_CONNECTIONS,
        pool_timeout=POOL_TIMEOUT_SECS,
        pool_use_lifo=True,
        pool_pre_ping=True,  # connections that a restart of the server has cut are replaced unseen
        connect_args=connection_arguments(url, _CONNECTION),
    )


def connection_arguments(url: URL, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a connection that its URL says nothing of."""
    return {name: value for name, value in wanted.items() if name not in url.query}


def is_collision(error: DBAPIError) -> bool:
    """Whether the database ended a transaction because of another one."""
    return getattr(error.orig, "sqlstate", None) in (_SERIALIZATION_FAILURE, _DEADLOCK_DETECTED)

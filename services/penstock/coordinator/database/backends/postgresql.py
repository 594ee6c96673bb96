"""PostgreSQL: connections with timeouts for everything, and which errors are worth a retry."""

from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError

DRIVER = "postgresql+psycopg"
POOL_TIMEOUT_SECS = 10
IDLE_CONNECTIONS = 5
MORE_CONNECTIONS = 15  # several coordinators share the 100 that a server allows by default

READING: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of transactions that read from one snapshot."""
WRITING: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
"""Execution options of transactions that change rows. They lock what they read, or lock its job first."""

_SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",  # a stopped process must not block others
    # Every join here looks up a thousand rows by a key. For a new job's images there are no statistics yet, and the
    # planner would read the whole table.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "random_page_cost": "1.1",
    # A plan for any values is kept from when a table was small, and reads all images of a job once it is large.
    "plan_cache_mode": "force_custom_plan",
}
_CONNECTION: dict[str, Any] = {
    "application_name": "penstock",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "client_encoding": "utf8",  # a server with SQL_ASCII would return text as bytes
    "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
}
_SERIALIZATION_FAILURE = "40001"
_DEADLOCK_DETECTED = "40P01"
_DISK_FULL = "53100"


def make_engine(url: URL) -> Engine:
    """Return the engine for a server. Connection parameters in the URL take precedence."""
    return create_engine(
        url,
        pool_size=IDLE_CONNECTIONS,
        max_overflow=MORE_CONNECTIONS,
        pool_timeout=POOL_TIMEOUT_SECS,
        pool_use_lifo=True,
        pool_pre_ping=True,  # replaces connections that a restart of the server has closed
        connect_args=connection_arguments(url, _CONNECTION),
    )


def connection_arguments(url: URL, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the connection parameters that are not in the URL."""
    return {name: value for name, value in wanted.items() if name not in url.query}


def is_collision(error: DBAPIError) -> bool:
    """Return whether the database aborted a transaction because of a concurrent one."""
    return getattr(error.orig, "sqlstate", None) in (_SERIALIZATION_FAILURE, _DEADLOCK_DETECTED)


def is_full(error: DBAPIError) -> bool:
    """Return whether the server's disk is full."""
    return getattr(error.orig, "sqlstate", None) == _DISK_FULL

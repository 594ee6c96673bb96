"""The leader's term: a number that grows with each coordinator that begins to lead, and fences off the one before.

And the leader's status, for those who don't lead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, Connection, Double, bindparam, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.database.schema import leader_status, leadership

_BEGIN = update(leadership).values(term=leadership.c.term + 1).returning(leadership.c.term)
_TERM = select(leadership.c.term)
_HELD_TERM = _TERM.with_for_update(read=True)


class DatabaseTime(ColumnElement[float]):
    """Seconds since the epoch by the database's clock, to a millisecond or better."""

    inherit_cache = True
    type = Double()


@compiles(DatabaseTime)
def _ask_sqlite(_time: DatabaseTime, _compiler: SQLCompiler, **_options: Any) -> str:
    return "(julianday('now') - 2440587.5) * 86400.0"  # unixepoch's subseconds are of SQLite 3.42


@compiles(DatabaseTime, "postgresql")
def _ask_postgresql(_time: DatabaseTime, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


_PUT = update(leader_status).values(put_at=DatabaseTime(), status=bindparam("text"))
_GET = select(leader_status.c.put_at, leader_status.c.status).where(leader_status.c.put_at.is_not(None))

P = ParamSpec("P")
T = TypeVar("T")


def begin(connection: Connection, holder: str) -> int:
    """Begin the next term and return it. It waits for what the leader before is just committing."""
    term: int = connection.execute(_BEGIN, {"holder": holder, "since": time.time()}).scalar_one()
    return term


def current(connection: Connection) -> int:
    """Return the term of whoever leads, or was the last to."""
    term: int = connection.execute(_TERM).scalar_one()
    return term


def within(
    connection: Connection,
    term: int | None,
    work: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Return what `work(connection, …)` does; no later term begins before it is committed. None asks for no term.

    Raises:
        UnavailableError: a later term has begun.
    """
    if term is not None:
        newest = connection.execute(_HELD_TERM).scalar_one()
        if newest != term:
            raise UnavailableError("database", f"another coordinator leads, in term {newest}; this one led in {term}")
    return work(connection, *args, **kwargs)


def put_status(connection: Connection, status: str) -> None:
    """See Repository.put_status."""
    connection.execute(_PUT, {"text": status})


def get_status(connection: Connection) -> tuple[float, str] | None:
    """See Repository.get_status."""
    found = connection.execute(_GET).one_or_none()
    return (found.put_at, found.status) if found is not None else None

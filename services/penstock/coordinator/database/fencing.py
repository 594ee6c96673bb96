"""Fencing: a token that grows with every new leader, so that writes of an earlier one are refused; and leader status.

The token is called `term` in the database and in log lines.
"""

import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, bindparam, literal_column, select, update

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.database.schema import leader_status, leadership

_NEXT_TERM = update(leadership).values(term=leadership.c.term + 1).returning(leadership.c.term)
_TERM = select(leadership.c.term)
_LOCKED_TERM = _TERM.with_for_update(read=True)


_NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",  # unixepoch() has subseconds only since SQLite 3.42
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}
"""Seconds since the epoch by the database's clock, to a millisecond or better."""
_PUT_STATUS = {
    dialect: update(leader_status).values(put_at=literal_column(now), status=bindparam("text"))
    for dialect, now in _NOW.items()
}
_GET_STATUS = select(leader_status.c.put_at, leader_status.c.status).where(leader_status.c.put_at.is_not(None))

P = ParamSpec("P")
T = TypeVar("T")


def begin_term(connection: Connection, holder: str) -> int:
    """Increment the term and return it. Waits for transactions of the leader before."""
    term: int = connection.execute(_NEXT_TERM, {"holder": holder, "since": time.time()}).scalar_one()
    return term


def current_term(connection: Connection) -> int:
    """Return the term of the current or last leader."""
    term: int = connection.execute(_TERM).scalar_one()
    return term


def fenced(
    connection: Connection,
    term: int | None,
    work: Callable[Concatenate[Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Return the result of `work(connection, …)`; no later term begins before it is committed. None: no fencing.

    Raises:
        UnavailableError: a later term has begun.
    """
    if term is not None:
        newest = connection.execute(_LOCKED_TERM).scalar_one()
        if newest != term:
            raise UnavailableError("database", f"another coordinator leads, in term {newest}; this one led in {term}")
    return work(connection, *args, **kwargs)


def put_status(connection: Connection, status: str) -> None:
    connection.execute(_PUT_STATUS[connection.dialect.name], {"text": status})


def get_status(connection: Connection) -> tuple[float, str] | None:
    row = connection.execute(_GET_STATUS).one_or_none()
    return (row.put_at, row.status) if row is not None else None

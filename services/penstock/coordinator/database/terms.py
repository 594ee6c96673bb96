"""The leader's term: a number that grows with each coordinator that begins to lead, and fences off the one before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, select, update

from penstock.common.errors import UnavailableError
from penstock.coordinator.database.schema import leadership

_BEGIN = update(leadership).values(term=leadership.c.term + 1).returning(leadership.c.term)
_TERM = select(leadership.c.term)
_HELD_TERM = _TERM.with_for_update(read=True)

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

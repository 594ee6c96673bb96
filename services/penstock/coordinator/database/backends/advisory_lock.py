"""Leadership by an advisory lock of PostgreSQL, on a connection of its own.

The lock lives as long as the connection's session, so there are three clocks, each shorter than the next:

- a leader that hasn't heard from the server for `LEASE_SECS` doesn't lead any more, by its own clock;
- the server ends the session of a leader that it hasn't heard from for `SESSION_SECS`, whatever the reason: the
  process hangs, the network is cut, the machine is gone. Where the process just dies, its connection closes at once;
- a follower, which asks every `POLL_SECS`, then begins the next term, well within 10 seconds.

A leader paused between looking at its clock and writing could still write after that; for this the term is counted in
the database, see terms.py.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from penstock.coordinator.database import fencing as terms
from penstock.coordinator.database.backends.engine import first_line, read_url
from penstock.coordinator.database.backends.postgresql import connection_arguments
from penstock.coordinator.ports.leadership import Leadership

log = logging.getLogger(__name__)

CHECK_SECS = 2.0
LEASE_SECS = 5.0
SESSION_SECS = 7
POLL_SECS = 0.5

_LOCK = int.from_bytes(b"penstock")
_TRY = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=_LOCK)
_SESSION = {
    "idle_session_timeout": f"{SESSION_SECS}s",  # PostgreSQL 14 and later
    "statement_timeout": "3s",
    "lock_timeout": "3s",
}
_CONNECTION: dict[str, Any] = {
    "application_name": "penstock leadership",
    "connect_timeout": 3,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 3_000,
    "client_encoding": "utf8",
    "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
}


class PostgresLeadership(Leadership):
    """Needs the tables (a repository has been opened), and a session of the server's own: no pooler in between."""

    def __init__(self, url: str | URL) -> None:
        url = read_url(url)
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            connect_args=connection_arguments(url, _CONNECTION),
        )
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._calls: list[Callable[[], None]] = []
        self._released = threading.Event()
        self._keeper: threading.Thread | None = None
        self._leads_until = 0.0
        self._term: int | None = None
        self._said = ""

    @property
    def term(self) -> int | None:
        return self._term

    def is_leader(self) -> bool:
        return time.monotonic() < self._leads_until

    def on_lost(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def acquire(self, timeout_secs: float) -> bool:
        end = time.monotonic() + timeout_secs
        while not self._released.is_set():
            if self.is_leader() or (not self._is_kept() and self._try()):
                return True
            left = end - time.monotonic()
            if left <= 0:
                break
            self._released.wait(min(POLL_SECS, left))
        return False

    def release(self) -> None:
        self._released.set()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()

    def _is_kept(self) -> bool:
        """Whether a thread still holds the right (its lease may have run out), or is telling of its loss."""
        keeper = self._keeper
        return keeper is not None and keeper.is_alive() and keeper is not threading.current_thread()

    def _try(self) -> bool:
        """Begin to lead, if nobody does."""
        asked_at = time.monotonic()
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:
            self._say(f"nobody can be asked who leads: {first_line(error)}")
            return False
        try:
            has_begun = self._begin(connection)
        except SQLAlchemyError as error:
            self._say(f"cannot begin to lead: {first_line(error)}")
            has_begun = False
        if not has_begun:
            connection.close()
            return False
        self._leads_until = asked_at + LEASE_SECS
        self._keeper = threading.Thread(target=self._keep, args=(connection,), name="leadership", daemon=True)
        self._keeper.start()
        return True

    def _begin(self, connection: Connection) -> bool:
        if not connection.execute(_TRY).scalar_one():
            self._say("another coordinator leads")
            return False
        self._term = terms.begin(connection, self._holder)
        self._say(f"this coordinator leads, in term {self._term}")
        return True

    def _keep(self, connection: Connection) -> None:
        """Hold on to the right until it is lost or released."""
        why = self._watch(connection)
        self._leads_until = 0.0
        connection.close()
        if why is not None:
            self._say(f"this coordinator leads no more: {why}")
            for call in self._calls:
                call()

    def _watch(self, connection: Connection) -> str | None:
        """Prove again and again that the session lives; return why it doesn't, None where it was released."""
        while not self._released.wait(CHECK_SECS):
            asked_at = time.monotonic()
            try:
                newest = terms.current(connection)
            except SQLAlchemyError as error:
                return first_line(error)
            if newest != self._term:
                return f"term {newest} has begun"
            self._leads_until = asked_at + LEASE_SECS
        return None

    def _say(self, what: str) -> None:
        """Log what is new; a follower asks twice a second."""
        if what != self._said:
            log.info(what)
            self._said = what

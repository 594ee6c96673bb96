"""Leader election by an advisory lock of PostgreSQL, on a separate connection.

The lock is held as long as the connection's session. Three durations follow from that, each longer than the one before:

- a leader that hasn't heard from the server for `LEASE_SECS` stops leading, by its own clock;
- the server ends the session of a leader that it hasn't heard from for `SESSION_SECS`: the process hangs, the network
  is down or the machine is gone. If just the process dies, its connection closes at once;
- a follower tries to take the lock every `POLL_SECS`, so the next term begins within 10 seconds.

A leader that is paused after it looked at its clock could still write later. The fencing token prevents that, see
`fencing`.
"""

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

from penstock.coordinator.database.backends.engine import first_line, read_url
from penstock.coordinator.database.backends.postgresql import connection_arguments
from penstock.coordinator.database.fencing import begin_term, current_term
from penstock.coordinator.ports.leadership import Leadership

log = logging.getLogger(__name__)

CHECK_SECS = 2.0
LEASE_SECS = 5.0
SESSION_SECS = 7
POLL_SECS = 0.5

_LOCK = int.from_bytes(b"penstock")
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=_LOCK)
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
    """Needs the tables, so open a repository first, and a real session: no connection pooler in between."""

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
        self._thread: threading.Thread | None = None
        self._leads_until = 0.0
        self._term: int | None = None
        self._last_logged = ""

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
            if self.is_leader() or (not self._is_held() and self._try_to_lead()):
                return True
            left = end - time.monotonic()
            if left <= 0:
                break
            self._released.wait(min(POLL_SECS, left))
        return False

    def release(self) -> None:
        self._released.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _is_held(self) -> bool:
        """Return whether a thread still holds the lock, perhaps with an expired lease, or is running the callbacks."""
        thread = self._thread
        return thread is not None and thread.is_alive() and thread is not threading.current_thread()

    def _try_to_lead(self) -> bool:
        """Try to become the leader."""
        checked_at = time.monotonic()
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:
            self._log_change(f"can't take part in the leader election: {first_line(error)}")
            return False
        try:
            has_begun = self._begin(connection)
        except SQLAlchemyError as error:
            self._log_change(f"can't become the leader: {first_line(error)}")
            has_begun = False
        if not has_begun:
            connection.close()
            return False
        self._leads_until = checked_at + LEASE_SECS
        self._thread = threading.Thread(target=self._keep, args=(connection,), name="leadership", daemon=True)
        self._thread.start()
        return True

    def _begin(self, connection: Connection) -> bool:
        if not connection.execute(_TRY_LOCK).scalar_one():
            self._log_change("following: another coordinator leads")
            return False
        self._term = begin_term(connection, self._holder)
        self._log_change(f"became leader in term {self._term}")
        return True

    def _keep(self, connection: Connection) -> None:
        """Hold the lock until it is lost or released."""
        reason = self._watch(connection)
        self._leads_until = 0.0
        connection.close()
        if reason is not None:
            self._log_change(f"lost leadership: {reason}")
            for call in self._calls:
                call()

    def _watch(self, connection: Connection) -> str | None:
        """Check regularly that the session is alive; return why it isn't, None after a release."""
        while not self._released.wait(CHECK_SECS):
            checked_at = time.monotonic()
            try:
                newest = current_term(connection)
            except SQLAlchemyError as error:
                return first_line(error)
            if newest != self._term:
                return f"term {newest} has begun"
            self._leads_until = checked_at + LEASE_SECS
        return None

    def _log_change(self, message: str) -> None:
        """Log a change; a follower tries twice a second."""
        if message != self._last_logged:
            log.info(message)
            self._last_logged = message

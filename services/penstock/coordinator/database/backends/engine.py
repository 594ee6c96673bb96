"""Database: transactions on SQLite or PostgreSQL, with retries after collisions and translated errors."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from penstock.common.backoff import Backoff
from penstock.common.model.errors import FullError, UnavailableError
from penstock.coordinator.database.backends import postgresql, sqlite

WRITER_TIMEOUT_SECS = 60
MAX_ATTEMPTS = 6
BACKOFF = Backoff(first_secs=0.03, max_secs=1.0, jitter=2 / 3)

P = ParamSpec("P")
T = TypeVar("T")


class CollisionError(UnavailableError):
    """The database aborted a transaction because of a concurrent one; a retry may succeed."""


class Database:
    """Read and write transactions on one database, from any thread.

    SQLite allows one writer at a time: writers wait for a lock of this process, and their transactions begin
    IMMEDIATE, so that none has to start over half way. PostgreSQL allows many writers in many processes, which lock the
    rows of their jobs. Readers never wait for writers.
    """

    def __init__(self, url: str | URL, *, fsync: bool = True) -> None:
        self.url = read_url(url)
        is_sqlite = self.url.get_backend_name() == "sqlite"
        self._file = sqlite.database_file(self.url) if is_sqlite else None
        self._engine: Engine = (
            postgresql.make_engine(self.url)
            if self._file is None
            else sqlite.make_engine(self.url, self._file, fsync=fsync)
        )
        self._reading_engine = self._engine.execution_options(**({} if is_sqlite else postgresql.READING))
        self._writing_engine = self._engine.execution_options(**(sqlite.WRITING if is_sqlite else postgresql.WRITING))
        self._writer = threading.Lock() if is_sqlite else None
        self._closed = False

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work(connection, …)` in a transaction that reads from one snapshot."""
        with self._translated(), self._reading_engine.begin() as connection:
            return work(connection, *args, **kwargs)

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work(connection, …)` in a transaction, which an exception rolls back.

        After a collision it is called again, so it must not consume its arguments. What would be written to a file that
        was deleted is refused with BrokenSetupError, because nobody would find it after the next start.
        """
        if self._file is not None:
            self._file.check()
        for attempt in range(MAX_ATTEMPTS):
            try:
                with self._one_writer(), self._translated(), self._writing_engine.begin() as connection:
                    return work(connection, *args, **kwargs)
            except CollisionError:
                if attempt == MAX_ATTEMPTS - 1:
                    raise
            time.sleep(BACKOFF.delay_secs(attempt))
        raise AssertionError("unreachable")

    def check(self) -> None:
        """Read from the database. Raises UnavailableError if that fails, or its file was replaced."""
        if self._file is not None:
            self._file.check()
        self.read(lambda connection: connection.execute(text("SELECT 1")))

    def close(self) -> None:
        """Disconnect; later transactions are refused."""
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=WRITER_TIMEOUT_SECS):
            raise UnavailableError("database", f"another write has held the lock for {WRITER_TIMEOUT_SECS} seconds")
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise UnavailableError("database", "the database is closed")
        try:
            yield
        except DBAPIError as error:
            reason = first_line(error)
            if postgresql.is_collision(error):
                raise CollisionError("database", f"aborted because of another transaction: {reason}") from error
            if postgresql.is_full(error):
                raise FullError("database") from error
            if self._file is not None and self._file.is_full(error):
                raise FullError("database", self._file.free_bytes()) from error
            raise UnavailableError("database", f"the database is unreachable: {reason}") from error
        except PoolTimeoutError as error:
            raise UnavailableError("database", "all connections to the database are in use") from error


def read_url(url: str | URL) -> URL:
    """Return a database's URL with the driver that Penstock uses.

    Raises:
        ValueError: it isn't a URL, or the database is not supported.
    """
    accepted = "accepted are sqlite:///PATH and postgresql://USER:PASSWORD@HOST:PORT/NAME"
    try:
        read = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"the database's URL is malformed; {accepted}") from error
    if read.drivername in ("postgres", "postgresql"):
        read = read.set(drivername=postgresql.DRIVER)
    if read.drivername not in ("sqlite", postgresql.DRIVER):
        raise ValueError(f"{read.drivername!r} is not a supported database; {accepted}")
    return read


def first_line(error: SQLAlchemyError) -> str:
    """Return the first line of a driver's message; details, hints and the statement follow it."""
    message = str(error.orig if isinstance(error, DBAPIError) else error)
    return next(iter(message.strip().splitlines()), type(error).__name__)

"""One connection to RabbitMQ, driven by a thread of its own and made anew whenever it breaks.

The thread does nothing but network: it answers heartbeats however long the threads beside it compute. It tells each
`ConnectionListener` of every new connection; other threads reach the connection by `run_soon` alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.exceptions import AMQPError

from penstock.common.backoff import Backoff
from penstock.common.model.errors import UnavailableError

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECS = 0.2
_STEADY_SECS = 10.0
_LEAVE_SECS = 5.0


class ConnectionListener(Protocol):
    """Something that lives on a link."""

    def move_in(self, connection: SelectConnection) -> None:
        """Start anew on a connection that has just opened. Called in the link's thread."""


class Connection:
    """Connects, and connects again after pauses that double up to `max_pause_secs`, each cut at random."""

    def __init__(self, parameters: pika.connection.Parameters, max_pause_secs: float) -> None:
        self._parameters = parameters
        self._backoff = Backoff(_FIRST_PAUSE_SECS, max_pause_secs)
        self._loop = IOLoop()
        self._tenants: list[ConnectionListener] = []
        self._opened_at = 0.0
        self._leaving = False
        self._finished = False
        self._closed = False
        self._connecting = False
        self._why = "not connected yet"
        self.connection: SelectConnection | None = None
        """The open connection; only the link's thread may look."""
        self.is_open = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rabbitmq", daemon=True)
        self._thread.start()

    @property
    def server(self) -> str:
        """The server's address, for messages."""
        return f"RabbitMQ at {self._parameters.host}:{self._parameters.port}"

    @property
    def trouble(self) -> str | None:
        """Why there is no connection; None where there is one."""
        return None if self.is_open.is_set() else f"{self.server} is away: {self._why}"

    def run_soon(self, call: Callable[[], None]) -> None:
        """Have the link's thread call something. Returns at once; may be called from any thread.

        Raises:
            UnavailableError: the link is closed.
        """
        if self._closed:
            raise UnavailableError("broker", f"the connection to {self.server} is closed")
        self._loop.add_callback_threadsafe(call)

    def run_later(self, delay_secs: float, call: Callable[[], None]) -> None:
        """Have something called after a while. Only for the link's own thread."""
        self._loop.call_later(delay_secs, call)

    def add(self, tenant: ConnectionListener) -> None:
        """Let something live on this link, on its connection of now and on every later one."""
        self.run_soon(lambda: self._add(tenant))

    def remove(self, tenant: ConnectionListener) -> None:
        """Tell a tenant of no more connections. Only for the link's own thread."""
        if tenant in self._tenants:
            self._tenants.remove(tenant)

    def wait_open(self, timeout_secs: float) -> None:
        """Wait until there is a connection.

        Raises:
            UnavailableError: there was none in `timeout_secs`.
        """
        if not self.is_open.wait(max(0.0, timeout_secs)):
            raise UnavailableError("broker", self.trouble or f"{self.server} does not answer")

    def close(self) -> None:
        """Disconnect and end the thread."""
        if self._closed:
            return
        self.run_soon(self._leave)
        self._closed = True
        # A server that says nothing more is left to the heartbeat; the thread keeps no process alive.
        self._thread.join(_LEAVE_SECS)

    def _add(self, tenant: ConnectionListener) -> None:
        self._tenants.append(tenant)
        if self.connection is not None:
            tenant.move_in(self.connection)

    def _run(self) -> None:
        self.run_soon(self._connect)
        while not self._finished:
            try:
                self._loop.start()
            except Exception:
                # A channel may close between a look at it and its use: start over on a new connection.
                log.exception("the connection to %s is given up", self.server)
                _end(self.connection)
                time.sleep(_FIRST_PAUSE_SECS)
        self._loop.close()

    def _connect(self) -> None:
        if self._leaving:
            self._finish()
            return
        try:
            SelectConnection(self._parameters, self._opened, self._failed, self._lost, custom_ioloop=self._loop)
            self._connecting = True
        except Exception as error:  # pika lets through whatever the resolver or TLS raise
            self._failed(None, error)

    def _opened(self, connection: SelectConnection) -> None:
        self._connecting, self.connection = False, connection
        if self._leaving:
            _end(connection)
            return
        self._opened_at = time.monotonic()
        self._why = ""
        self.is_open.set()
        for tenant in tuple(self._tenants):
            tenant.move_in(connection)

    def _failed(self, _: SelectConnection | None, error: BaseException) -> None:
        self._connecting = False
        self._try_again(error)

    def _lost(self, _: SelectConnection, error: BaseException) -> None:
        self.connection = None
        if time.monotonic() - self._opened_at > _STEADY_SECS:
            self._backoff.reset()
        self._try_again(error)

    def _try_again(self, error: BaseException) -> None:
        self.is_open.clear()
        if self._leaving:
            self._finish()
            return
        why = describe(error)
        level = logging.WARNING if why != self._why else logging.DEBUG
        self._why = why
        pause_secs = self._backoff.next_secs()
        log.log(level, "%s; next attempt in %.1f s", self.trouble, pause_secs)
        self._loop.call_later(pause_secs, self._connect)

    def _leave(self) -> None:
        self._leaving = True
        self._tenants.clear()
        if self.connection is None and not self._connecting:
            self._finish()
        _end(self.connection)  # an attempt under way is seen to its end, since pika cannot be told to stop it

    def _finish(self) -> None:
        self._finished = True
        self._loop.stop()


def _end(connection: SelectConnection | None) -> None:
    """Begin to close a connection; the link is told when it is done."""
    if connection is not None:
        with suppress(AMQPError):  # it is closing already
            connection.close()


def describe(error: BaseException) -> str:
    """Return what lies at the bottom of pika's wrapped exceptions, in one line."""
    while (inner := _unwrap(error)) is not None:
        error = inner
    text = getattr(error, "reply_text", "") or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _unwrap(error: BaseException) -> BaseException | None:
    several = getattr(error, "exceptions", ())
    candidates = (*several[-1:], getattr(error, "exception", None), *error.args[:1])
    return next((each for each in candidates if isinstance(each, BaseException)), None)

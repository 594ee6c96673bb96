"""Connection to RabbitMQ, run by a thread of its own and opened again whenever it breaks.

The thread does nothing but network I/O, so it answers heartbeats however long other threads compute. It calls each
`Listener` when a connection opens; other threads reach the connection only by `call_soon`.
"""

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ParamSpec
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.exceptions import AMQPError

from penstock.common.backoff import Backoff
from penstock.common.model.errors import UnavailableError
from penstock.common.settings import BrokerSettings, SettingsError

log = logging.getLogger(__name__)

P = ParamSpec("P")

_FIRST_PAUSE_SECS = 0.2
_STEADY_SECS = 10.0
_CLOSE_SECS = 5.0
_TLS_FILES = ("cacertfile", "certfile", "keyfile")


Listener = Callable[[SelectConnection], None]
"""Sets up again on a connection that has just opened. Called in the connection's thread."""


class Connection:
    """Connects, and reconnects with a backoff of up to `max_pause_secs`."""

    def __init__(self, parameters: pika.connection.Parameters, max_pause_secs: float) -> None:
        self._parameters = parameters
        self._backoff = Backoff(_FIRST_PAUSE_SECS, max_pause_secs)
        self._loop = IOLoop()
        self._listeners: list[Listener] = []
        self._opened_at = 0.0
        self._closing = False
        self._finished = False
        self._closed = False
        self._connecting = False
        self._reason = "not connected yet"
        self.current: SelectConnection | None = None
        """The open connection of pika; for the connection's thread only."""
        self.is_open = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rabbitmq", daemon=True)
        self._thread.start()

    @property
    def server(self) -> str:
        """The server's address, for messages."""
        return f"RabbitMQ at {self._parameters.host}:{self._parameters.port}"

    @property
    def outage(self) -> str | None:
        """Why there is no connection; None while it is open."""
        return None if self.is_open.is_set() else f"{self.server} is unreachable: {self._reason}"

    def call_soon(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call something in the connection's thread. Returns at once; may be called from any thread.

        Raises UnavailableError after `close`.
        """
        if self._closed:
            raise UnavailableError("broker", f"the connection to {self.server} is closed")
        self._loop.add_callback_threadsafe(partial(call, *args, **kwargs))

    def call_later(self, delay_secs: float, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call something after a delay. For the connection's thread only."""
        self._loop.call_later(delay_secs, partial(call, *args, **kwargs))

    def add_listener(self, listener: Listener) -> None:
        """Call a listener for the connection that is open now, and for every later one."""
        self.call_soon(self._add_listener, listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a listener. For the connection's thread only."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def wait_open(self, timeout_secs: float) -> None:
        """Wait until the connection is open. Raises UnavailableError if it does not open within `timeout_secs`."""
        if not self.is_open.wait(max(0.0, timeout_secs)):
            raise UnavailableError("broker", self.outage or f"{self.server} does not answer")

    def close(self) -> None:
        """Disconnect and end the thread."""
        if self._closed:
            return
        self.call_soon(self._close)
        self._closed = True
        # A server that no longer answers is left to the heartbeat: the thread is a daemon.
        self._thread.join(_CLOSE_SECS)

    def _add_listener(self, listener: Listener) -> None:
        self._listeners.append(listener)
        if self.current is not None:
            listener(self.current)

    def _run(self) -> None:
        self.call_soon(self._connect)
        while not self._finished:
            try:
                self._loop.start()
            except Exception:
                # A channel may close between a check and its use: reconnect.
                log.exception("unexpected error on the connection to %s; reconnecting", self.server)
                _close_connection(self.current)
                time.sleep(_FIRST_PAUSE_SECS)
        self._loop.close()

    def _connect(self) -> None:
        if self._closing:
            self._finish()
            return
        try:
            SelectConnection(self._parameters, self._on_open, self._on_error, self._on_close, custom_ioloop=self._loop)
            self._connecting = True
        except Exception as error:  # pika passes on whatever the resolver or TLS raise
            self._on_error(None, error)

    def _on_open(self, connection: SelectConnection) -> None:
        self._connecting, self.current = False, connection
        if self._closing:
            _close_connection(connection)
            return
        self._opened_at = time.monotonic()
        self._reason = ""
        self.is_open.set()
        for listener in tuple(self._listeners):
            listener(connection)

    def _on_error(self, _: SelectConnection | None, error: BaseException) -> None:
        self._connecting = False
        self._reconnect(error)

    def _on_close(self, _: SelectConnection, error: BaseException) -> None:
        self.current = None
        if time.monotonic() - self._opened_at > _STEADY_SECS:
            self._backoff.reset()
        self._reconnect(error)

    def _reconnect(self, error: BaseException) -> None:
        self.is_open.clear()
        if self._closing:
            self._finish()
            return
        reason = describe(error)
        level = logging.WARNING if reason != self._reason else logging.DEBUG
        self._reason = reason
        pause_secs = self._backoff.next_secs()
        log.log(level, "%s; reconnecting in %.1f s", self.outage, pause_secs)
        self._loop.call_later(pause_secs, self._connect)

    def _close(self) -> None:
        self._closing = True
        self._listeners.clear()
        if self.current is None and not self._connecting:
            self._finish()
        _close_connection(self.current)  # pika cannot stop an attempt to connect, so _on_open closes that one

    def _finish(self) -> None:
        self._finished = True
        self._loop.stop()


def _close_connection(connection: SelectConnection | None) -> None:
    """Start to close a connection; `_on_close` is called at the end."""
    if connection is not None:
        with suppress(AMQPError):  # it is closing already
            connection.close()


def describe(error: BaseException) -> str:
    """Return the innermost of pika's wrapped exceptions, in one line."""
    while (inner := _unwrap(error)) is not None:
        error = inner
    text = getattr(error, "reply_text", "") or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _unwrap(error: BaseException) -> BaseException | None:
    several = getattr(error, "exceptions", ())
    candidates = (*several[-1:], getattr(error, "exception", None), *error.args[:1])
    return next((each for each in candidates if isinstance(each, BaseException)), None)


def read_url(url: str, settings: BrokerSettings, role: str) -> pika.URLParameters:
    """Parse `amqp[s]://user:password@host:port/vhost?…`. `role` is part of the connection's name in RabbitMQ's lists.

    Over `amqps` the server's certificate is checked against the system's authorities, or against those in `cacertfile`;
    `certfile` and `keyfile` are the client's certificate. Other fields of the query are passed to pika.

    Raises:
        SettingsError: the URL cannot be used; the message leaves out the password.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    files = {name: query.pop(name) for name in _TLS_FILES if name in query}
    try:
        if parts.scheme not in ("amqp", "amqps"):
            raise ValueError(f"its scheme is {parts.scheme!r}")
        parameters = pika.URLParameters(urlunsplit(parts._replace(query=urlencode(query))))
        if parts.scheme == "amqps" and "ssl_options" not in query:
            parameters.ssl_options = pika.SSLOptions(_tls_context(files), parameters.host)
    except (ValueError, TypeError, SyntaxError, OSError) as error:
        raise SettingsError(
            "invalid_settings",
            f"PENSTOCK_BROKER_URL: {error}; accepted is amqp://user:password@host:port/vhost, or amqps:// for TLS",
        ) from error
    return _set_timeouts(parameters, query, settings, role)


def _set_timeouts(
    parameters: pika.URLParameters, query: dict[str, str], settings: BrokerSettings, role: str
) -> pika.URLParameters:
    if "heartbeat" not in query:
        parameters.heartbeat = settings.broker_heartbeat_secs
    parameters.connection_attempts = 1  # Connection retries with its own backoff
    parameters.socket_timeout = settings.broker_connect_timeout_secs
    parameters.stack_timeout = settings.broker_connect_timeout_secs
    parameters.blocked_connection_timeout = None  # during an alarm publishing fails, and the connection stays
    name = f"penstock {role} {socket.gethostname()}:{os.getpid()}"
    parameters.client_properties = {**(parameters.client_properties or {}), "connection_name": name}
    return parameters


def _tls_context(files: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.get("cacertfile"))
    if "certfile" in files:
        context.load_cert_chain(files["certfile"], files.get("keyfile"))
    return context

"""TCP proxies in front of a server: one that tests can pause and break, one that loses the responses to COMMIT."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

JOIN_SECS = 60


class TcpProxy:
    """Listens on a port of loopback (`listen_port`, or a free one) and forwards bytes in both directions."""

    def __init__(self, server_port: int, listen_port: int = 0) -> None:
        self._server_port = server_port
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", listen_port))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._running = threading.Event()
        self._running.set()
        self._start(self._accept)

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return len(self._sockets) // 2

    def pause(self) -> None:
        """Forward nothing, but keep all connections open."""
        self._running.clear()

    def resume(self) -> None:
        """Forward again."""
        self._running.set()

    def close(self) -> None:
        """Break all connections and accept no more."""
        self._running.set()
        _shut_down(self._listener)
        for connection in self._sockets:
            _shut_down(connection)
        for thread in self._threads:
            thread.join(JOIN_SECS)

    def should_forward(self, data: bytes, source: socket.socket, target: socket.socket) -> bool:
        """Return whether to forward data; if not, the connection is closed."""
        return True

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                try:
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except OSError:
                    client.close()
                    raise
                self._sockets += [client, server]
                self._start(lambda client=client, server=server: self._forward(client, server))
                self._start(lambda client=client, server=server: self._forward(server, client))

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with source, suppress(OSError):
            while data := source.recv(65_536):
                self._running.wait()
                if not self.should_forward(data, source, target):
                    break
                target.sendall(data)
        _shut_down(target)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()


class CommitLosingProxy(TcpProxy):
    """In front of PostgreSQL, without TLS: can lose the response to a COMMIT, which has happened nevertheless."""

    _COMMIT = b"COMMIT\0"  # the whole statement; a BEGIN may contain READ COMMITTED

    def __init__(self, server_port: int) -> None:
        self._losing = threading.Event()
        self._committing: set[socket.socket] = set()
        super().__init__(server_port)

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Close every connection on which a COMMIT is answered, instead of forwarding the response."""
        self._losing.set()
        try:
            yield
        finally:
            self._losing.clear()

    def should_forward(self, data: bytes, source: socket.socket, target: socket.socket) -> bool:
        if self._losing.is_set() and self._COMMIT in data:
            self._committing.add(target)
        return source not in self._committing


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

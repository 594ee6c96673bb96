"""A way to a PostgreSQL server on which the answer to a COMMIT can be lost: it has happened, and nobody is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

_COMMIT = b"COMMIT\0"  # the whole statement; a BEGIN may name the level READ COMMITTED


class CommitLosingProxy:
    """Listens on a port of its own and passes bytes on, without TLS, both ways."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._loses = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Close every connection on which a COMMIT is answered, instead of passing the answer on."""
        self._loses.set()
        try:
            yield
        finally:
            self._loses.clear()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client), closing(socket.create_connection(("127.0.0.1", self._server_port))) as server:
            is_lost = threading.Event()
            answers = threading.Thread(target=self._pass_answers, args=(server, client, is_lost), daemon=True)
            answers.start()
            while asked := _receive(client):
                if self._loses.is_set() and _COMMIT in asked:
                    is_lost.set()
                server.sendall(asked)
            server.shutdown(socket.SHUT_WR)
            answers.join()

    def _pass_answers(self, server: socket.socket, client: socket.socket, is_lost: threading.Event) -> None:
        while answer := _receive(server):
            if is_lost.is_set():
                client.shutdown(socket.SHUT_RDWR)
                return
            client.sendall(answer)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""

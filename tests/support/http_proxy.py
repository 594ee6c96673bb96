"""HTTP proxy: forwards requests to a server on loopback, and fails or holds some when a test says so."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_SECS = 60
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}
DISCONNECT = 0
NO_RESPONSE = 1
"""In the place of a status: close the connection, or keep it open without a response."""

ALWAYS = 1_000_000
NO_HEADERS: Mapping[str, str] = {}
Rewrite = Callable[[str, str], str]


class HttpProxy(ThreadingHTTPServer):
    """Listens on a free port of loopback.

    `rewrite` may change the path of a request (method, path → path); `extra` headers are added to responses that lack
    them. With `tls` it speaks HTTPS to clients. `connections` counts the accepted connections.
    """

    daemon_threads = True

    def __init__(
        self, target: int, rewrite: Rewrite, extra: Mapping[str, str], tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _ForwardingHandler)
        self.tls = tls
        self.connections = 0
        self.target = target
        self.rewrite = rewrite
        self.extra = extra
        self.closing = threading.Event()
        self.requests: list[str] = []
        self._refusals: list[int] = []
        self._lock = threading.Lock()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake in the connection's thread."""
        with self._lock:
            self.connections += 1
        if self.tls is not None:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:  # the client does not trust the certificate
                return
        try:
            super().finish_request(request, client_address)
        finally:
            if self.tls is not None:
                request.close()

    def refuse(self, status: int, times: int = ALWAYS) -> None:
        """Answer the next requests with a status (or one of the above) instead of forwarding them."""
        with self._lock:
            self._refusals = [status] * times

    def take_refusal(self) -> int | None:
        """Return the status for this request; None to forward it."""
        with self._lock:
            return self._refusals.pop() if self._refusals else None


class _ForwardingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # head and body in one packet
    server: HttpProxy

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append(f"{self.command} {self.path}")
        status = self.server.take_refusal()
        if status in (DISCONNECT, NO_RESPONSE):
            self.close_connection = True
            if status == NO_RESPONSE:
                self.server.closing.wait(TIMEOUT_SECS)
            return
        if status is not None:
            self._answer(status, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=TIMEOUT_SECS)
        try:
            path = self.server.rewrite(self.command, self.path)
            upstream.request(self.command, path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        kept = [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
        present = {name.lower() for name, _ in kept}
        own = {"Content-Length": str(len(body)), **self.server.extra}
        kept += [(name, value) for name, value in own.items() if name.lower() not in present]
        for name, value in kept:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log nothing."""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 (the base class's names)


def _unchanged(method: str, path: str) -> str:
    return path


@contextmanager
def http_proxy(
    target: int,
    rewrite: Rewrite = _unchanged,
    extra: Mapping[str, str] = NO_HEADERS,
    tls: ssl.SSLContext | None = None,
) -> Iterator[HttpProxy]:
    """Run a proxy to a port of loopback."""
    with HttpProxy(target, rewrite, extra, tls) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.closing.set()
            proxy.shutdown()
            thread.join(TIMEOUT_SECS)

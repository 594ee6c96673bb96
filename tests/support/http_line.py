"""A line to an HTTP server: passes requests on as they are, and refuses or holds some where a test says so."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_SECS = 60
HOP = {"connection", "transfer-encoding", "keep-alive"}
HANG_UP = 0
SAY_NOTHING = 1
"""Beside the status of an answer: break the connection, or keep it and never answer."""

FOR_EVER = 1_000_000
NOTHING: Mapping[str, str] = {}
Rewrite = Callable[[str, str], str]


class HttpLine(ThreadingHTTPServer):
    """Listens on a free port of loopback.

    `rewrite` may change the path of a request (method, path → path); `extra` are headers for answers that lack them.
    With `tls` it is https on this side; `connections` counts those that came.
    """

    daemon_threads = True

    def __init__(
        self, target: int, rewrite: Rewrite, extra: Mapping[str, str], tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
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
        """Shake hands in the connection's own thread."""
        with self._lock:
            self.connections += 1
        if self.tls is not None:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:  # our certificate is not trusted
                return
        try:
            super().finish_request(request, client_address)
        finally:
            if self.tls is not None:
                request.close()

    def refuse(self, status: int, times: int = FOR_EVER) -> None:
        """Answer the next requests with a status (or as above), and pass none of them on."""
        with self._lock:
            self._refusals = [status] * times

    def take_refusal(self) -> int | None:
        """Return the status to refuse this request with, None to pass it on."""
        with self._lock:
            return self._refusals.pop() if self._refusals else None


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # head and body in one packet
    server: HttpLine

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append(f"{self.command} {self.path}")
        status = self.server.take_refusal()
        if status in (HANG_UP, SAY_NOTHING):
            self.close_connection = True
            if status == SAY_NOTHING:
                self.server.closing.wait(TIMEOUT_SECS)
            return
        if status is not None:
            self._answer(status, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        far = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=TIMEOUT_SECS)
        try:
            path = self.server.rewrite(self.command, self.path)
            far.request(self.command, path, body, dict(self.headers.items()))
            answer = far.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
        finally:
            far.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        kept = [(name, value) for name, value in headers if name.lower() not in HOP]
        present = {name.lower() for name, _ in kept}
        own = {"Content-Length": str(len(body)), **self.server.extra}
        kept += [(name, value) for name, value in own.items() if name.lower() not in present]
        for name, value in kept:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815 (the base class's names)


def _as_it_is(method: str, path: str) -> str:
    return path


@contextmanager
def http_line(
    target: int,
    rewrite: Rewrite = _as_it_is,
    extra: Mapping[str, str] = NOTHING,
    tls: ssl.SSLContext | None = None,
) -> Iterator[HttpLine]:
    """Lay a line to a port of loopback, for a while."""
    with HttpLine(target, rewrite, extra, tls) as line:
        thread = threading.Thread(target=line.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield line
        finally:
            line.closing.set()
            line.shutdown()
            thread.join(TIMEOUT_SECS)

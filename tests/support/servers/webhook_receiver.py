"""Webhook receiver: an HTTP server that records what it receives, and certificates to run it with TLS."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANG = 0
"""Instead of a status: no response until the receiver is closed."""


@dataclass(frozen=True)
class Received:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """A receiver on a loopback port. It responds with the next of `answers`, or 204 when there are none left."""

    port: int
    answers: deque[int] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    concurrent: int = 0
    most_concurrent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/hook?token=of-the-receiver"

    def ids(self) -> list[str]:
        return [received.event["id"] for received in self.received]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake in the request's thread, where a client that rejects it does no harm."""
        if self.tls is not None:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        try:
            super().finish_request(request, client_address)
        except OSError:
            pass
        finally:
            request.close()


@contextmanager
def running_receiver(*answers: int, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with receiver.lock:
                receiver.received.append(Received(self.path, dict(self.headers.items()), body))
                receiver.concurrent += 1
                receiver.most_concurrent = max(receiver.most_concurrent, receiver.concurrent)
                status = receiver.answers.popleft() if receiver.answers else 204
            if status == HANG:
                receiver.closing.wait(60)
            else:
                self._answer(status)
            with receiver.lock:
                receiver.concurrent -= 1

        def _answer(self, status: int) -> None:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", port), Handler)
    server.tls = tls
    receiver = Receiver(server.server_address[1], deque(answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def make_certificate(folder: Path, names: str, without_service: Callable[[str], None]) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed certificate for names (`DNS:hooks.example`); return its file and a server's context."""
    if shutil.which("openssl") is None:
        without_service("openssl is not installed")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=penstock tests", "-addext", f"subjectAltName={names}"]
    key, certificate = folder / "key.pem", folder / "ca.pem"
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context

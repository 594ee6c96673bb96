"""What the benchmark says to a Penstock server: the few calls of its REST API that it needs, at the least cost.

Everything else stands on `penstock.client`. What that does for its users would be measured instead of the server: it
sends files one by one so that none is sent twice, three requests where one form does, and takes five times the CPU.
"""

from __future__ import annotations

import json
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urljoin, urlsplit

from penstock.common.model.errors import PenstockError, UnavailableError
from penstock.common.model.jobs import TERMINAL_JOB_STATES
from penstock.common.tls import trust

TIMEOUT_SECS = 60.0
KEPT_SECS = 1.0
NEVER_REPEATED = frozenset({"POST"})


class RefusedError(PenstockError):
    """The server refused a request; the message is the server's own."""


class RestClient:
    """One kept connection to a server at `url`, with an API key where it asks for one; for one thread.

    `tls_ca` is a file of certificates to trust instead of this host's.
    """

    def __init__(self, url: str, api_key: str | None = None, tls_ca: Path | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self._below = parts.path.rstrip("/")
        self._own_headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        host, port = parts.hostname or "127.0.0.1", parts.port
        self._connection = HTTPConnection(host, port, timeout=TIMEOUT_SECS)
        if parts.scheme == "https":
            self._connection = HTTPSConnection(host, port, timeout=TIMEOUT_SECS, context=_read_trust(tls_ca))
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def post_job(self, document: Mapping[str, Any], photos: Sequence[Path] = ()) -> dict[str, Any]:
        """Create a job of a job document, and of `photos` as its files where there are any; return the job.

        Raises:
            RefusedError: the server does not accept it.
            UnavailableError: no answer.
            OSError: a photo cannot be read.
        """
        content = json.dumps(document).encode()
        if not photos:
            return self._send_json("POST", "/v1/jobs", content, "application/json")
        boundary = secrets.token_hex(16)
        body = _multipart(boundary, content, photos)
        return self._send_json("POST", "/v1/jobs", body, f"multipart/form-data; boundary={boundary}")

    def job(self, job: str) -> dict[str, Any]:
        """Return a job as it is now."""
        return self._send_json("GET", f"/v1/jobs/{quote(job)}")

    def wait(
        self, job: str, *, poll_secs: float, on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Ask for a job every `poll_secs` until it has ended; return it as it ended."""
        while True:
            found = self.job(job)
            if on_progress is not None:
                on_progress(found)
            if found["state"] in TERMINAL_JOB_STATES:
                return found
            time.sleep(poll_secs)

    def results(self, job: str) -> Iterator[dict[str, Any]]:
        """Yield the manifest of a job, one file after the other."""
        body = self.send("GET", f"/v1/jobs/{quote(job)}/results", headers={"Accept": "application/x-ndjson"})
        return (json.loads(line) for line in body.splitlines() if line)

    def fetch(self, url: str) -> bytes:
        """Return what lies at a URL of this server, whole."""
        return self.send("GET", urlsplit(urljoin(self.url, url)).path)

    def delete_job(self, job: str) -> None:
        """Remove a job that has ended, with its results."""
        self.send("DELETE", f"/v1/jobs/{quote(job)}")

    def is_ready(self) -> bool:
        """Tell whether the server answers and can accept jobs."""
        try:
            self.send("GET", "/readyz")
        except (RefusedError, UnavailableError):
            return False
        return True

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Send one request and return the answer's body.

        Raises:
            RefusedError: the answer's status is 400 or more.
            UnavailableError: no answer.
        """
        try:
            status, answer = self._exchange(method, path, body, headers or {})
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise UnavailableError("server", f"no answer from {self.url}: {error or type(error).__name__}") from error
        if status >= 400:
            raise RefusedError("refused", f"{method} {path}: {status} {_explain(answer)}")
        return answer

    def _send_json(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> dict[str, Any]:
        headers = {"Content-Type": content_type} if content_type else {}
        answer: dict[str, Any] = json.loads(self.send(method, path, body, headers))
        return answer

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if method in NEVER_REPEATED and time.monotonic() - self._used_at > KEPT_SECS:
            self._connection.close()  # the server may be closing it just now, and this request goes out only once
        was_open = self._connection.sock is not None
        try:
            return self._exchange_once(method, path, body, headers)
        except (ConnectionError, HTTPException):
            # A server may close a kept connection between two requests; only a fresh one tells that it is away.
            self._connection.close()
            if not was_open or method in NEVER_REPEATED:
                raise
            return self._exchange_once(method, path, body, headers)

    def _exchange_once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        self._connection.request(method, self._below + path, body, {**self._own_headers, **headers})
        response = self._connection.getresponse()
        self._used_at = time.monotonic()
        return response.status, response.read()


def _read_trust(tls_ca: Path | None) -> ssl.SSLContext | None:
    try:
        return trust(tls_ca) if tls_ca else None
    except OSError as error:  # SSLError is one
        raise PenstockError("invalid_tls_ca", f"{tls_ca} holds no certificates: {error.strerror or error}") from error


def _multipart(boundary: str, document: bytes, photos: Sequence[Path]) -> bytes:
    pieces = [_part(boundary, 'name="job"', document)]
    pieces += [_part(boundary, f'name="files"; filename="{photo.name}"', photo.read_bytes()) for photo in photos]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _part(boundary: str, disposition: str, content: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


def _explain(answer: bytes) -> str:
    try:
        problem = json.loads(answer)
        return str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")

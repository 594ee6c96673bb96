"""REST client of the benchmark: the few calls it needs, with as little CPU as possible.

A request by `http.client` takes a third of the CPU of one by httpx, on which `penstock.client` is built; that library
also uploads files one by one, so that each can be retried. Either would be measured along with the server.
"""

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
from penstock.common.tls import make_ssl_context

TIMEOUT_SECS = 60.0
KEEPALIVE_SECS = 1.0
"""Shorter than the server's, so that no request is sent on a connection that the server is about to close."""


class RefusedError(PenstockError):
    """The server refused a request; the message is the server's."""

    exit_code = 3


class RestClient:
    """A keep-alive connection to the server at `url`; not thread-safe.

    `tls_ca` is a file of certificates to trust instead of this host's.
    """

    def __init__(self, url: str, api_key: str | None = None, tls_ca: Path | None = None) -> None:
        self.url = url
        parts = urlsplit(url)
        host = parts.hostname or "127.0.0.1"
        if parts.scheme == "https":
            context = _read_trust(tls_ca) if tls_ca else None
            self._connection: HTTPConnection = HTTPSConnection(host, parts.port, timeout=TIMEOUT_SECS, context=context)
        else:
            self._connection = HTTPConnection(host, parts.port, timeout=TIMEOUT_SECS)
        self._base_path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def post_job(self, document: Mapping[str, Any], images: Sequence[Path] = ()) -> dict[str, Any]:
        """Create a job, with `images` as uploads if there are any; return it.

        Raises:
            RefusedError: the server does not accept it.
            UnavailableError: no answer.
            OSError: an image cannot be read.
        """
        body, content_type = json.dumps(document).encode(), "application/json"
        if images:
            boundary = secrets.token_hex(16)
            body = _multipart(boundary, body, images)
            content_type = f"multipart/form-data; boundary={boundary}"
        job: dict[str, Any] = json.loads(self.send("POST", "/v1/jobs", body, {"Content-Type": content_type}))
        return job

    def job(self, job: str) -> dict[str, Any]:
        """Return the current state of a job."""
        document: dict[str, Any] = json.loads(self.send("GET", f"/v1/jobs/{quote(job)}"))
        return document

    def wait(
        self, job: str, *, poll_secs: float, on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Poll a job every `poll_secs` until it has ended; return it."""
        while True:
            found = self.job(job)
            if on_progress is not None:
                on_progress(found)
            if found["state"] in TERMINAL_JOB_STATES:
                return found
            time.sleep(poll_secs)

    def results(self, job: str) -> Iterator[dict[str, Any]]:
        """Return the entries of a job's manifest."""
        body = self.send("GET", f"/v1/jobs/{quote(job)}/results", headers={"Accept": "application/x-ndjson"})
        return (json.loads(line) for line in body.splitlines() if line)

    def fetch(self, url: str) -> bytes:
        """Return the content of a URL of this server."""
        return self.send("GET", urlsplit(urljoin(self.url, url)).path)

    def delete_job(self, job: str) -> None:
        """Delete a job that has ended, and its results."""
        self.send("DELETE", f"/v1/jobs/{quote(job)}")

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Send one request and return the answer's body.

        Raises:
            RefusedError: the answer's status is 400 or more.
            UnavailableError: no answer.
        """
        if time.monotonic() - self._used_at > KEEPALIVE_SECS:
            self._connection.close()
        try:
            self._connection.request(method, self._base_path + path, body, {**self._headers, **(headers or {})})
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise UnavailableError("server", f"no answer from {self.url}: {error or type(error).__name__}") from error
        self._used_at = time.monotonic()
        if response.status >= 400:
            raise RefusedError("refused", f"{method} {path}: {response.status} {_read_detail(answer)}")
        return answer


def _read_trust(tls_ca: Path) -> ssl.SSLContext:
    try:
        return make_ssl_context(tls_ca)
    except OSError as error:  # SSLError is one
        raise PenstockError("invalid_tls_ca", f"{tls_ca} has no certificates: {error.strerror or error}") from error


def _multipart(boundary: str, document: bytes, images: Sequence[Path]) -> bytes:
    fields = [('name="job"', document)]
    fields += [(f'name="files"; filename="{image.name}"', image.read_bytes()) for image in images]
    head = f"--{boundary}\r\nContent-Disposition: form-data; "
    parts = [f"{head}{disposition}\r\n\r\n".encode() + content + b"\r\n" for disposition, content in fields]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def _read_detail(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")

"""Client that retries every request that may be sent again."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ANSWER_SECS = 10.0
PAUSE_SECS = 0.05
RETRY_STATUSES = {429, 503}


class DeadlineError(Exception):
    """The expected response did not come within the time limit."""


@dataclass(frozen=True)
class Response:
    """A response."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)


@dataclass
class Client:
    """Sends requests to one of several coordinators, and to another one if that fails.

    `between_attempts` is called between two attempts.
    """

    urls: Sequence[str]
    between_attempts: Callable[[], None]
    timeout_secs: float

    def __post_init__(self) -> None:
        self._index = 0

    def try_request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Response | None:
        """Send a request once; None if there is no response, or one that asks to retry."""
        server = urlsplit(self.urls[self._index % len(self.urls)])
        connection = http.client.HTTPConnection(str(server.hostname), server.port, timeout=ANSWER_SECS)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            answer = Response(response.status, response.read())
        except (OSError, http.client.HTTPException):
            answer = None
        finally:
            connection.close()
        if answer is None or answer.status in RETRY_STATUSES:
            self._index += 1
            return None
        return answer

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Response:
        """Send a request until there is a response.

        Raises:
            DeadlineError: there was none in time.
        """
        return self.poll(f"{method} {path}", lambda: self.try_request(method, path, body, **headers))

    def poll(self, what: str, get: Callable[[], Any]) -> Any:
        """Call `get` until it returns something true.

        Raises:
            DeadlineError: it did not in time.
        """
        deadline = time.monotonic() + self.timeout_secs
        while not (result := get()):
            if time.monotonic() > deadline:
                raise DeadlineError(f"{what}: not within {self.timeout_secs:g} s")
            self.between_attempts()
            time.sleep(PAUSE_SECS)
        return result


def form(document: Mapping[str, Any], files: Sequence[Path]) -> tuple[bytes, str]:
    """Return the body of a form with files, and its content type."""
    boundary = secrets.token_hex(16)
    parts = [('name="job"', json.dumps(document).encode())]
    parts += [(f'name="files"; filename="{path.name}"', path.read_bytes()) for path in files]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

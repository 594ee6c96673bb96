"""A customer who insists: sends again what was not answered, and whatever may be sent again."""

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
LATER = {429, 503}


class OverdueError(Exception):
    """Not answered as wanted within the time there is."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Client:
    """Asks one of several coordinators, another one where that fails. `tend` is called between two attempts."""

    urls: Sequence[str]
    tend: Callable[[], None]
    patience_secs: float

    def __post_init__(self) -> None:
        self._turn = 0

    def once(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer | None:
        """Send a request; None where no answer came, or one that says to come later."""
        server = urlsplit(self.urls[self._turn % len(self.urls)])
        connection = http.client.HTTPConnection(str(server.hostname), server.port, timeout=ANSWER_SECS)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            answer = Answer(response.status, response.read())
        except (OSError, http.client.HTTPException):
            answer = None
        finally:
            connection.close()
        if answer is None or answer.status in LATER:
            self._turn += 1
            return None
        return answer

    def insist(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request until it is answered.

        Raises:
            OverdueError: it never was.
        """
        return self.until(f"{method} {path}", lambda: self.once(method, path, body, **headers))

    def until(self, what: str, get: Callable[[], Any]) -> Any:
        """Ask until there is something.

        Raises:
            OverdueError: there never was.
        """
        deadline = time.monotonic() + self.patience_secs
        while not (got := get()):
            if time.monotonic() > deadline:
                raise OverdueError(f"{what}: not within {self.patience_secs:g} s")
            self.tend()
            time.sleep(PAUSE_SECS)
        return got


def form(document: Mapping[str, Any], files: Sequence[Path]) -> tuple[bytes, str]:
    """Return the body of an upload and its content type."""
    boundary = secrets.token_hex(16)
    parts = [('name="job"', json.dumps(document).encode())]
    parts += [(f'name="files"; filename="{path.name}"', path.read_bytes()) for path in files]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

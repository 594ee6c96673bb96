"""WebDAV client: HTTP requests to one server, each on a new connection, with retries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from penstock.common.backoff import Backoff
from penstock.common.model.errors import UnavailableError
from penstock.common.store.base import Buffer

Body = Callable[[], Iterable[Buffer]]
"""Returns a body's pieces; called once for each attempt."""

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class WebDavClient:
    """Sends requests to `host`, `port` and `folder` (empty, or `/…`); it follows no redirects.

    An attempt fails after `attempt_secs` without progress; none begins later than `retry_secs` after the first.
    """

    secure: bool
    host: str
    port: int | None
    folder: str
    attempt_secs: float
    retry_secs: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def request(
        self, method: str, path: str, headers: Mapping[str, str] = NO_HEADERS, body: Body | None = None
    ) -> tuple[int, bytes]:
        """Send a request to a percent-encoded path below the folder; return the response's status and body.

        Raises:
            UnavailableError: there was no response.
        """
        end = time.monotonic() + self.retry_secs
        backoff = Backoff(first_secs=0.1, max_secs=2.0)
        while True:
            pause_secs = backoff.next_secs()
            final = time.monotonic() + pause_secs > end
            try:
                status, answer = self._attempt(method, path, headers, body)
                if final or not _is_temporary(status):
                    return status, answer
            except (OSError, HTTPException) as error:
                if final:
                    raise UnavailableError(
                        "store", "the store cannot be used: it is unreachable, or does not answer in time"
                    ) from error
            time.sleep(pause_secs)

    def _attempt(self, method: str, path: str, headers: Mapping[str, str], body: Body | None) -> tuple[int, bytes]:
        kind = HTTPSConnection if self.secure else HTTPConnection
        connection = kind(self.host, self.port, timeout=self.attempt_secs)
        try:
            all_headers = {**self.headers, **headers, "Connection": "close"}
            connection.request(method, f"{self.folder}/{path}", None if body is None else body(), all_headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _is_temporary(status: int) -> bool:
    return status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500

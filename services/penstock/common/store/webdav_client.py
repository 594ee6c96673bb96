"""Plain HTTP requests to one server, each on a connection of its own, tried again where that may help."""

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
"""Gives a body's pieces from its start, once for each attempt."""

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class WebDavClient:
    """Where requests go: `host`, `port` and `folder` (empty, or `/…`) of one server, and nowhere else.

    No redirect is followed. An attempt fails after `attempt_secs` in which nothing moves, and none begins later than
    `retry_secs` after the first.
    """

    secure: bool
    host: str
    port: int | None
    folder: str
    attempt_secs: float
    retry_secs: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def request(
        self, method: str, path: str, headers: Mapping[str, str] = NOTHING, body: Body | None = None
    ) -> tuple[int, bytes]:
        """Send a request to a percent-encoded path below the folder; return the answer's status and body.

        Raises:
            UnavailableError: no answer.
        """
        end = time.monotonic() + self.retry_secs
        backoff = Backoff(first_secs=0.1, max_secs=2.0)
        while True:
            pause_secs = backoff.next_secs()
            final = time.monotonic() + pause_secs > end
            try:
                status, answer = self._attempt(method, path, headers, body)
                if final or not _may_pass(status):
                    return status, answer
            except (OSError, HTTPException) as error:
                if final:
                    raise UnavailableError(
                        "store", "the store cannot be used: it cannot be reached, or does not answer in time"
                    ) from error
            time.sleep(pause_secs)

    def _attempt(self, method: str, path: str, headers: Mapping[str, str], body: Body | None) -> tuple[int, bytes]:
        kind = HTTPSConnection if self.secure else HTTPConnection
        connection = kind(self.host, self.port, timeout=self.attempt_secs)
        try:
            own = {**self.headers, **headers, "Connection": "close"}
            connection.request(method, f"{self.folder}/{path}", None if body is None else body(), own)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _may_pass(status: int) -> bool:
    return status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500

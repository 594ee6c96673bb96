"""Requests and answers without a connection: what both clients share. They only send, wait and read.

A `Call` says what to send and how to read the answer; `Attempts` decides after each trouble how long to wait before the
same again, or that it is over.
"""

from __future__ import annotations

import json
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, Protocol, TypeVar

import httpx

from penstock.client.errors import DamagedError, RefusedError, UnavailableError, UnexpectedAnswerError
from penstock.common.backoff import Backoff

_log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NOTHING: Mapping[str, str] = {}
PATIENCE_SECS = 60.0
TIMEOUT_SECS = 60.0
_QUIET_SECS = 2.0
_LATER = frozenset({429, 503})
"""The request was not acted upon; whatever it is, it may be sent again."""
_PERHAPS = frozenset({502, 504})
"""Nobody knows whether it was."""


class Sink(Protocol[T_co]):
    """Takes an answer's bytes as they come."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> T_co:
        """Make something of all of them; raises DamagedError where they are not what they should be."""

    def abort(self) -> None:
        """Forget them. After `finish` this does nothing."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and what its answer becomes: by `read` once it is whole, or by a `sink` as it comes.

    `body` makes the body anew for each attempt, `size_bytes` long. `repeatable`: twice does no more than once.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T] | None = None
    sink: Callable[[], Sink[T]] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Iterator[bytes]] | None = None
    size_bytes: int = 0
    repeatable: bool = True

    def request(self, more: Mapping[str, str] = NOTHING) -> dict[str, Any]:
        """Return what httpx is asked with, with more headers, but without the body.

        Raises:
            UnexpectedAnswerError: the path leads to another server, to which no key may go.
        """
        if not (self.path.startswith("/") and self.path.isprintable()):
            raise UnexpectedAnswerError(f"{self.path[:80]!a} is not a path of this server")
        headers = {**self.headers, **more}
        if self.body is not None:
            headers["Content-Length"] = str(self.size_bytes)
        params = {key: value for key, value in self.params.items() if value is not None}
        return {"method": self.method, "url": self.path, "params": params or None, "headers": headers}

    def answer(self, response: httpx.Response) -> T:
        """Return what a whole answer says.

        Raises:
            UnexpectedAnswerError: it is none of Penstock's.
        """
        assert self.read is not None
        try:
            return self.read(response)
        except (ValueError, KeyError, TypeError) as error:  # pydantic's and JSON's are ValueErrors
            raise UnexpectedAnswerError(
                f"{response.request.url} answered {response.status_code} with something else than Penstock does"
            ) from error


class Attempts:
    """One call's attempts, over `patience_secs` at most from the first trouble on: a long transfer is none."""

    def __init__(self, call: Call[Any], server: str, patience_secs: float) -> None:
        self._call = call
        self._server = server
        self._patience_secs = patience_secs
        self._trouble_since: float | None = None
        self._told = False
        self._backoff = Backoff(first_secs=0.1, max_secs=10.0)
        self._maybe_done = False

    def is_answered(self, response: httpx.Response) -> bool:
        """Whether an answer is the one that was asked for."""
        gone = self._call.method == "DELETE" and response.status_code == 404 and self._maybe_done
        return response.is_success or gone

    def pause_after_answer(self, response: httpx.Response) -> float:
        """Return how many seconds to wait after an answer that is none, before the same again.

        Raises:
            RefusedError: it won't be another one.
            UnavailableError: that is long enough.
        """
        status = response.status_code
        if status not in _LATER and not (status in _PERHAPS and self._call.repeatable):
            raise refusal(response)
        self._maybe_done |= status in _PERHAPS
        message = f"{self._server} answers {status}: {refusal(response).detail}"
        return self._pause(UnavailableError(message, status), read_retry_after(response.headers.get("retry-after")))

    def pause_after_error(self, error: httpx.RequestError | DamagedError) -> float:
        """Return how many seconds to wait after a broken exchange, before the same again.

        Raises:
            UnavailableError: that is long enough, or the request may have been acted upon and must not be sent twice,
                or the server has a certificate that is not trusted.
            DamagedError: damaged again and again.
        """
        if isinstance(error, DamagedError):
            return self._pause(error)
        if doubt := _distrust(error):
            raise UnavailableError(
                f"{self._server} has a certificate that is not trusted: {doubt.verify_message.rstrip('.')};"
                " PENSTOCK_TLS_CA may name a file of certificates to trust"
            ) from error
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        away = UnavailableError(f"no answer from {self._server}: {error or type(error).__name__}")
        hopeless = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
        if hopeless or not (unsent or self._call.repeatable):
            raise away from error
        self._maybe_done |= not unsent
        return self._pause(away)

    def _pause(self, error: UnavailableError | DamagedError, asked_secs: float | None = None) -> float:
        secs = self._backoff.next_secs()
        if asked_secs is not None:
            secs = asked_secs * random.uniform(1.0, 1.1)  # noqa: S311 (not all who were told the same at once)
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        if now + secs > self._trouble_since + self._patience_secs:
            raise error
        if now > self._trouble_since + _QUIET_SECS and not self._told:
            self._told = True
            _log.warning("%s; it is tried again for %g s in all", error.message, self._patience_secs)
        return secs


def _distrust(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the refusal of a certificate that led to an error."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def ignore(_: object) -> None:
    """Take what nobody asked to be told."""


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, as a number or as a date (RFC 9110, section 10.2.3)."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    zoned = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (zoned - datetime.now(UTC)).total_seconds())


def refusal(response: httpx.Response) -> RefusedError:
    """Return the error of an answer that was read: its problem document, or what can be said without one."""
    status = response.status_code
    try:
        problem = json.loads(response.content)
        pointer = problem.get("pointer")
        return RefusedError(
            status, str(problem["code"]), _one_line(problem["detail"]), None if pointer is None else _one_line(pointer)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        shown = " ".join(_one_line(response.text[:200]).split()) or response.reason_phrase
        if response.has_redirect_location:
            shown = f"leads to {_one_line(response.headers['location'][:200])}, which is not followed"
        return RefusedError(status, "refused", f"{response.request.url.path}: {status} {shown}")


def _one_line(value: object) -> str:
    """Return what a server says without what a terminal would act upon."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))

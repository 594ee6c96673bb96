"""Retries of a request: after which failures it is sent again, and how long to wait before."""

import json
import logging
import random
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from penstock.client.errors import DamagedError, RefusedError, UnavailableError
from penstock.client.request import Request
from penstock.common.backoff import Backoff

_log = logging.getLogger("penstock.client")

NO_CODE = "refused"
"""The code of a response that is no problem document."""
_NOT_PROCESSED = frozenset({429, 503, 507})
"""The server has not acted on the request; any request may be sent again."""
_MAYBE_PROCESSED = frozenset({502, 504})
"""The server may have acted on the request; only an idempotent one may be sent again."""


class Retries:
    """The retries of one request. They end `patience_secs` after its first failure, so that a transfer may be long.

    Args:
        request: what is sent.
        server: the URL to name in errors.
        patience_secs: how long to retry.
        warned: what was warned of; shared by all requests of a client, so that an outage is mentioned once.
        quiet_secs: how long to retry before a warning is logged.
        clock: returns seconds.
    """

    def __init__(
        self,
        request: Request[Any],
        server: str,
        patience_secs: float,
        warned: set[str] | None = None,
        *,
        quiet_secs: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._server = server
        self._patience_secs = patience_secs
        self._quiet_secs = quiet_secs
        self._clock = clock
        self._backoff = Backoff(first_secs=0.1, max_secs=10.0)
        self._failing_since: float | None = None
        self._warned = set() if warned is None else warned
        self._maybe_processed = False

    def is_success(self, response: httpx.Response) -> bool:
        """Whether a response means success: a 404 does after a DELETE whose response was lost."""
        is_deleted = self._request.method == "DELETE" and response.status_code == 404 and self._maybe_processed
        if response.is_success:
            self._warned.clear()  # of the next outage
        return response.is_success or is_deleted

    def delay_after_response(self, response: httpx.Response) -> float:
        """Return the seconds to wait after a response that is not a success.

        Raises:
            RefusedError: a retry would be refused as well.
            UnavailableError: the patience is over.
        """
        status = response.status_code
        refusal = read_refusal(response)
        is_time_up = status == 504 and refusal.code != NO_CODE  # the server's own: it would take as long again
        may_help = status in _NOT_PROCESSED or (status in _MAYBE_PROCESSED and self._request.idempotent)
        if is_time_up or not may_help:
            raise refusal
        self._maybe_processed |= status in _MAYBE_PROCESSED
        message = f"{self._server} answers {status}: {refusal.detail}"
        return self._next_delay(
            UnavailableError(message, status), read_retry_after(response.headers.get("retry-after"))
        )

    def delay_after_error(self, error: httpx.RequestError | DamagedError) -> float:
        """Return the seconds to wait after a request that failed without a response, or after a damaged download.

        Raises:
            UnavailableError: the patience is over, or the server may have acted on a request that is not idempotent,
                or its certificate is not trusted.
            DamagedError: every download was damaged.
        """
        if isinstance(error, DamagedError):
            return self._next_delay(error)
        if reason := _find_certificate_error(error):
            raise UnavailableError(
                f"certificate of {self._server} is not trusted: {reason.verify_message.rstrip('.')};"
                " set PENSTOCK_TLS_CA to a file of certificates to trust"
            ) from error
        is_unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        is_invalid = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
        unreachable = UnavailableError(f"cannot reach {self._server}: {error or type(error).__name__}")
        if is_invalid or not (is_unsent or self._request.idempotent):
            raise unreachable from error
        self._maybe_processed |= not is_unsent
        return self._next_delay(unreachable)

    def _next_delay(self, error: UnavailableError | DamagedError, retry_after_secs: float | None = None) -> float:
        delay_secs = self._backoff.next_secs()
        if retry_after_secs is not None:  # jittered: other clients got the same answer
            delay_secs = retry_after_secs * random.uniform(1.0, 1.1)  # noqa: S311 (no secret)
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        if now + delay_secs > self._failing_since + self._patience_secs:
            raise error
        if now > self._failing_since + self._quiet_secs and error.message not in self._warned:
            self._warned.add(error.message)
            _log.warning("%s; retrying for up to %g s", error.message, self._patience_secs)
        return delay_secs


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, which is a number or a date (RFC 9110, section 10.2.3)."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    zoned = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (zoned - datetime.now(UTC)).total_seconds())


def read_refusal(response: httpx.Response) -> RefusedError:
    """Return the problem document of a response as an error, or status and text if there is none."""
    status = response.status_code
    try:
        problem = json.loads(response.content)
        pointer = problem.get("pointer")
        return RefusedError(
            status, str(problem["code"]), _one_line(problem["detail"]), None if pointer is None else _one_line(pointer)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        text = " ".join(_one_line(response.text[:200]).split()) or response.reason_phrase
        if response.has_redirect_location:
            text = f"redirects to {_one_line(response.headers['location'][:200])}; redirects are not followed"
        return RefusedError(status, NO_CODE, f"{response.request.url.path}: {status} {text}")


def _find_certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the certificate error that caused an error, if one did."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _one_line(value: object) -> str:
    """Return text from a server without line breaks and other control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))

"""Refusal: a problem document as it is sent, for what never becomes a request."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from penstock.coordinator.api.middleware import SECURITY_HEADERS
from penstock.coordinator.api.problems import problem
from penstock.coordinator.ports.refusals import BUSY_RETRY_SECS


def refusal(status: int, code: str, detail: str) -> bytes:
    """Return a whole HTTP/1.1 response, after which the connection closes."""
    headers = {**SECURITY_HEADERS, "Connection": "close"}
    if status == 503:
        headers["Retry-After"] = str(BUSY_RETRY_SECS)
    response = problem(status, code, detail, headers=headers)
    lines = [b"%s: %s\r\n" % pair for pair in response.raw_headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", response.body])

"""Errors of the client library.

PenstockError
└── PenstockClientError
    ├── RefusedError             the server refused the request; carries its problem document (RFC 9457)
    ├── UnavailableError         the server was unreachable or overloaded until the client's patience was over
    ├── DamagedError             a download does not match its checksum
    ├── UnexpectedAnswerError    the response is not one of Penstock's
    └── LocalFileError           a file of this host cannot be read or written
        └── NoSpaceError         the disk is full
"""

from penstock.common.model.errors import PenstockError

_FOR_NOW = frozenset({408, 429})
"""Statuses below 500 of requests that may be accepted later."""
_FOR_NOW_CODES = frozenset({"job_open", "upload_in_use", "request_in_progress"})
"""Codes of 409 that end by themselves."""


class PenstockClientError(PenstockError):
    """Base of the library's errors. Each class has its `code`, except RefusedError, which has the server's."""

    exit_code = 3

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(code or self.code, message)


class RefusedError(PenstockClientError):
    """The server refused a request. `code` is stable; `pointer` locates the error in the sent document (RFC 6901)."""

    def __init__(self, status: int, code: str, detail: str, pointer: str | None = None) -> None:
        super().__init__(f"{pointer}: {detail}" if pointer else detail, code)
        self.status = status
        self.detail = detail
        self.pointer = pointer
        if 400 <= status < 500 and status not in _FOR_NOW and code not in _FOR_NOW_CODES:
            self.exit_code = LocalFileError.exit_code


class UnavailableError(PenstockClientError):
    """The server did not respond, or only with `status`, however often the request was sent."""

    code = "unavailable"

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DamagedError(PenstockClientError):
    """A downloaded file does not match the checksum in the manifest."""

    code = "damaged"


class UnexpectedAnswerError(PenstockClientError):
    """The response is not one of Penstock's: another server listens there, or a proxy changed it."""

    code = "unexpected_answer"


class LocalFileError(PenstockClientError):
    """A file of this host does not exist, changed during its upload, or cannot be written."""

    exit_code = 2
    code = "local_file"


class NoSpaceError(LocalFileError):
    """The disk for results is full, or a quota is used up; what was saved stays."""

    exit_code = 3
    code = "no_space"

"""What can go wrong, and what the person who meets it is told.

PenstockError
├── ImageError          one picture cannot be processed; the rest of its job goes on
├── RequestError        a request is refused; carries its HTTP status and a JSON pointer
│   └── PlanError       the list of operations is refused (422)
└── UnavailableError    a store, broker or database is away; worth trying again
"""

from __future__ import annotations

from enum import StrEnum


class PenstockError(Exception):
    """Anything Penstock says of itself. `code` is stable and for machines, `message` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ImageCode(StrEnum):
    """Why one image failed."""

    EMPTY_FILE = "empty_file"
    UNSUPPORTED_TYPE = "unsupported_type"
    CORRUPT_IMAGE = "corrupt_image"
    TRUNCATED_IMAGE = "truncated_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_LARGE_FILE = "too_large_file"
    UNSUPPORTED_COLORSPACE = "unsupported_colorspace"
    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_FORBIDDEN = "source_forbidden"
    PARAMETER_NOT_APPLICABLE = "parameter_not_applicable"
    STEP_TIMEOUT = "step_timeout"
    STEP_CRASHED = "step_crashed"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    INTERNAL = "internal"


RETRY_MAY_HELP = frozenset(
    {
        ImageCode.SOURCE_NOT_FOUND,
        ImageCode.SOURCE_FORBIDDEN,
        ImageCode.STEP_TIMEOUT,
        ImageCode.STEP_CRASHED,
        ImageCode.ATTEMPTS_EXHAUSTED,
        ImageCode.INTERNAL,
    }
)
"""Codes that depend on the surroundings; the others follow from the bytes and the plan alone."""


class ImageError(PenstockError):
    """One picture cannot be processed. `step` names the operation that could not, once it is known."""

    def __init__(self, code: ImageCode, message: str, step: str | None = None) -> None:
        super().__init__(code, message)
        self.code: ImageCode = code
        self.step = step


class RequestError(PenstockError):
    """A request is refused with an HTTP `status`; `pointer` leads into the document that was sent (RFC 6901)."""

    def __init__(self, status: int, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(code, message)
        self.status = status
        self.pointer = pointer


class PlanError(RequestError):
    """A list of operations that cannot be run."""

    def __init__(self, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(422, code, message, pointer)


class UnavailableError(PenstockError):
    """Something Penstock stands on is away for now. `what` names it: store, broker, database."""

    def __init__(self, what: str, message: str, retry_after_secs: int = 5) -> None:
        super().__init__("unavailable", message)
        self.what = what
        self.retry_after_secs = retry_after_secs

"""Errors of Penstock.

PenstockError
├── ImageError              one image failed; the rest of its job continues
├── RequestError            a request is refused, with its HTTP status and a JSON pointer
│   └── PlanError           the list of operations is refused (422)
├── UnavailableError        a store, broker or database is unreachable; a retry may succeed
│   ├── FullError           it has no room (507)
│   ├── ObjectFailedError   one object cannot be read or written, for no reason that concerns the others
│   └── BrokenSetupError    it stays unusable until somebody mends it
├── StartupError            a process cannot start: its port or data folder cannot be used
├── SettingsError           settings cannot be used                   (common/settings.py)
├── MessageError            a message cannot be parsed                (common/model/messages.py)
└── SourceForbiddenError, SourceNotFoundError, SourceTooLargeError
                            a URL cannot be read                      (common/store/bucket_allowlist.py)
"""

from collections.abc import Mapping
from enum import StrEnum


class PenstockError(Exception):
    """Base of all errors. `code` is stable and for programs, `message` is for people, `exit_code` for commands."""

    exit_code = 2

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
    NO_IMAGES = "no_images"
    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_FORBIDDEN = "source_forbidden"
    INVALID_REGIONS = "invalid_regions"
    PARAMETER_NOT_APPLICABLE = "parameter_not_applicable"
    STEP_TIMEOUT = "step_timeout"
    IMAGE_TIMEOUT = "image_timeout"
    STEP_CRASHED = "step_crashed"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    INTERNAL = "internal"


RETRY_MAY_HELP = frozenset(
    {
        ImageCode.NO_IMAGES,
        ImageCode.SOURCE_NOT_FOUND,
        ImageCode.SOURCE_FORBIDDEN,
        ImageCode.STEP_TIMEOUT,
        ImageCode.STEP_CRASHED,
        ImageCode.ATTEMPTS_EXHAUSTED,
        ImageCode.INTERNAL,
    }
)
"""Failures that depend on the environment. All others follow from the image and the plan, and would happen again."""


HELP: Mapping[str, str] = {
    ImageCode.EMPTY_FILE: "The file is empty. Send the original file in a new job.",
    ImageCode.UNSUPPORTED_TYPE: "Files of this type are not read here. Convert it, then send it in a new job.",
    ImageCode.CORRUPT_IMAGE: "The file is damaged. Send another copy in a new job.",
    ImageCode.TRUNCATED_IMAGE: "The file is incomplete. Send it again in a new job.",
    ImageCode.UNSUPPORTED_COLORSPACE: "Convert the file to RGB or grayscale, then send it in a new job.",
    ImageCode.TOO_MANY_PIXELS: "Send a smaller image, or ask for a higher limit (PENSTOCK_MAX_PIXELS).",
    ImageCode.TOO_LARGE_FILE: "Send a smaller file, or ask for a higher limit (PENSTOCK_MAX_FILE_BYTES).",
    ImageCode.PARAMETER_NOT_APPLICABLE: "An operation does not apply to this image. Choose other operations for it.",
    ImageCode.INVALID_REGIONS: "Correct the image's .regions.json file, then send both in a new job.",
    ImageCode.NO_IMAGES: "All images of the group failed. Retry those, and the group runs with them.",
    ImageCode.SOURCE_NOT_FOUND: "Put the file where the job expects it, then retry.",
    ImageCode.SOURCE_FORBIDDEN: "Allow the server to read the file and to write the results, then retry.",
    ImageCode.STEP_TIMEOUT: "The step took too long. Retry; if it happens again, ask for a longer time limit.",
    ImageCode.IMAGE_TIMEOUT: "The image took too long. Choose fewer or quicker operations, or ask for a longer time"
    " limit.",
    ImageCode.STEP_CRASHED: "The step crashed on this image. Retry; if it happens again, look at the step's log.",
    ImageCode.ATTEMPTS_EXHAUSTED: "All attempts failed. Retry once the cause is fixed.",
    ImageCode.INTERNAL: "Unexpected error. Retry; if it happens again, look at the server's log.",
}
"""What helps against each failure, for users. A test checks that every code has a text."""


def help_for(code: str, *, retry: bool) -> str:
    """Return what helps against a failure with this code; custom steps may have codes of their own."""
    return HELP.get(code, "Retrying may help." if retry else "Retrying will not help; send another file.")


class ImageError(PenstockError):
    """One image cannot be processed. `step` is the operation that failed, None until it is known."""

    def __init__(self, code: ImageCode, message: str, step: str | None = None) -> None:
        super().__init__(code, message)
        self.code: ImageCode = code
        self.step = step


class RequestError(PenstockError):
    """A request is refused with an HTTP `status`; `pointer` is the place in its document (RFC 6901)."""

    def __init__(self, status: int, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(code, message)
        self.status = status
        self.pointer = pointer


class PlanError(RequestError):
    """A list of operations that cannot be run."""

    def __init__(self, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(422, code, message, pointer)


class UnavailableError(PenstockError):
    """A service is unreachable, full or failing; a retry may succeed. `what` is `store`, `broker` or `database`.

    `waiting_for` says it in a few words to those who wait, without addresses: `broker blocked (low on disk)`.
    """

    exit_code = 3

    def __init__(self, what: str, message: str, retry_after_secs: int = 5, waiting_for: str | None = None) -> None:
        super().__init__("unavailable", message)
        self.what = what
        self.retry_after_secs = retry_after_secs
        self.waiting_for = waiting_for or f"{what} unreachable"


class FullError(UnavailableError):
    """A store or database has no room for more. Reading and deleting still work."""

    def __init__(self, what: str, free_bytes: int | None = None) -> None:
        free = "" if free_bytes is None else f" ({format_bytes(free_bytes)} free)"
        super().__init__(what, f"the {what} is full{free}", 60, f"{what} full{free}")


class ObjectFailedError(UnavailableError):
    """One object cannot be read or written, though the store as a whole may be fine. A retry counts as an attempt."""


class BrokenSetupError(UnavailableError):
    """A service stays unusable until somebody mends it. `message` says how, and has nothing that is secret."""


class StartupError(PenstockError):
    """A process cannot start. `code` is `port_in_use`, `data_in_use` or `data_unusable`."""

    exit_code = 3


def format_bytes(count: int) -> str:
    """Return a number of bytes for people, such as `12 kB`, rounded down."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count // size} {unit}"
    return f"{count} B"

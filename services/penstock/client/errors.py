"""What a client raises.

PenstockError
└── PenstockClientError
    ├── RefusedError             the server understood and said no; carries its problem document (RFC 9457)
    ├── UnavailableError         no answer, or none but "later", for as long as the client is patient
    ├── DamagedError             bytes came that have another checksum than they should
    ├── UnexpectedAnswerError    what answered does not speak as Penstock does
    └── LocalFileError           a file here cannot be read, written or named so
"""

from __future__ import annotations

from penstock.common.model.errors import PenstockError


class PenstockClientError(PenstockError):
    """Anything that goes wrong between a client and its server. `exit_code` is the command line's."""

    exit_code = 3


class RefusedError(PenstockClientError):
    """A request was refused. `code` is stable; `pointer` leads into the document that was sent (RFC 6901)."""

    def __init__(self, status: int, code: str, detail: str, pointer: str | None = None) -> None:
        where = f"{pointer}: " if pointer else ""
        super().__init__(code, f"{where}{detail}")
        self.status = status
        self.detail = detail
        self.pointer = pointer


class UnavailableError(PenstockClientError):
    """The server did not answer, or could not take the request, however often it was sent again."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__("unavailable", message)
        self.status = status


class DamagedError(PenstockClientError):
    """What was downloaded is not what the manifest says."""

    def __init__(self, message: str) -> None:
        super().__init__("damaged", message)


class UnexpectedAnswerError(PenstockClientError):
    """An answer that is none of Penstock's: another server listens there, or something between changes answers."""

    def __init__(self, message: str) -> None:
        super().__init__("unexpected_answer", message)


class LocalFileError(PenstockClientError):
    """A file of this host is not there, has changed while it was sent, or may not be written."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__("local_file", message)

"""The lines that a step's program reads and writes: one JSON object a line, one answer a request, in order.

Their JSON Schema stands in `docs/messages/`. A reader ignores fields that it doesn't know and refuses a `v` that it
doesn't know.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock.common.model.errors import PenstockError

VERSION = 1
MAX_LINE_BYTES = 1024 * 1024
"""Longest line of either side, its end included."""

DESCRIBE = "describe"
DECODE = "decode"
BAD_REQUEST = "bad_request"
"""Code of an answer to what is no request; all others are the image error codes."""

RAW = "safetensors"
FILE_TYPES = ("jpeg", "png")
"""What `accepts` names."""


class ProtocolError(PenstockError):
    """A line that is no request, or no answer."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Request(_Line):
    """Have one image worked on.

    `op` is the operation; `describe` asks what the program is and has no other fields. `params` are the operation's.
    `in` are the files of the image's parts, in order. The results are to lie in the folder `out`, which is there and
    empty, each in a file of its own.
    """

    v: Literal[1] = 1
    op: Annotated[str, Field(min_length=1, max_length=64)]
    params: dict[str, Any] = {}
    inputs: Annotated[list[str], Field(alias="in")] = []
    out: str = ""


class ResponseError(_Line):
    """Why a request failed: one of the image error codes, and whether the same request may succeed another time."""

    code: Annotated[str, Field(max_length=64)]
    message: str = ""
    retry: bool = False


class Response(_Line):
    """What became of a request: the files of its results in order, or why there are none."""

    v: Literal[1] = 1
    ok: bool
    out: list[str] = []
    error: ResponseError | None = None


class Description(_Line):
    """The answer to `describe`.

    `params` is the JSON Schema of the operation's parameters; where a program performs several operations,
    `operations` gives each one's by name. `accepts` are the files that it takes a picture from; one that takes JPEG
    and PNG decodes them when it comes first. `gpu` says that it wants one.
    """

    v: Literal[1] = 1
    step: Annotated[str, Field(min_length=1, max_length=40)]
    version: str = ""
    params: dict[str, Any] = {}
    operations: dict[str, dict[str, Any]] = {}
    accepts: list[str] = [RAW]
    gpu: bool = False

    def schema_of(self, step: str) -> dict[str, Any] | None:
        """Return the JSON Schema of a step's parameters; None where the program does not perform it."""
        return self.params if step == self.step else self.operations.get(step)


L = TypeVar("L", bound=_Line)


def write_message(line: Request | Response | Description) -> bytes:
    """Return a line with its end; what was not given is left out."""
    fields = line.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return json.dumps({"v": VERSION, **fields}, separators=(",", ":")).encode() + b"\n"


def read_request(line: bytes) -> Request:
    """Parse a request.

    Raises:
        ProtocolError: it is none, or of another version.
    """
    return _read(Request, line)


def read_response(line: bytes) -> Response:
    """Parse an answer.

    Raises:
        ProtocolError: it is none, or of another version.
    """
    answer = _read(Response, line)
    if not answer.ok and answer.error is None:
        raise ProtocolError("unreadable_line", "error: an answer that is not ok says why")
    return answer


def read_description(line: bytes) -> Description:
    """Parse the answer to `describe`.

    Raises:
        ProtocolError: it is none, or of another version.
    """
    return _read(Description, line)


def _read(kind: type[L], line: bytes) -> L:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise ProtocolError("unreadable_line", f"{where}: {first['msg']}") from error

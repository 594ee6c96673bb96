"""Stdio protocol of external programs: JSON requests on stdin, one per line, each answered by one line on stdout.

Its JSON Schema is in `docs/messages/`. Readers ignore unknown fields and refuse an unknown `v`.
"""

import json
import operator
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from penstock.common.headers.base import ImageType
from penstock.common.model.errors import PenstockError
from penstock.common.model.regions import Place, Region, Regions, is_empty
from penstock.common.wording.faults import first_fault

VERSION = 1
MAX_LINE_BYTES = 1024 * 1024
"""Longest line in either direction, with its newline."""

DESCRIBE = "describe"
BAD_REQUEST = "bad_request"
"""Error code of a response to an invalid request. All other codes are image error codes."""

RAW = "safetensors"
FILE_TYPES: tuple[str, ...] = get_args(ImageType)
"""Values of `accepts`, besides `safetensors`."""


class ProtocolError(PenstockError):
    """A line that is not a valid message of the protocol."""


class _Message(BaseModel, extra="ignore", populate_by_name=True):
    """Base of all messages."""


class GroupMember(_Message):
    """A result of an image of a group: its file, its name in the job, its size in pixels, and what else is known.

    `file` is left out in a request, whose `in` has it.
    """

    file: Annotated[str, Field(exclude_if=is_empty)] = ""
    name: str
    width: int
    height: int
    regions: Annotated[Regions, Field(exclude_if=is_empty)] = ()
    place: Annotated[Place | None, Field(exclude_if=is_empty)] = None
    labels: Annotated[dict[str, str], Field(exclude_if=operator.not_)] = {}


class Request(_Message):
    """A request to process one image.

    `op` is the operation and `params` its parameters; `describe` asks for the program's description and has no other
    fields. `in` lists the files of the image's parts, in order. The program writes each result to a file of its own in
    the folder `out`, which exists and is empty. `regions` are those of each part, in its pixels; left out if no part
    has any.

    A group step gets a group of images instead. `listing` is a file that describes them, in the order of their names: a
    line of JSON for each, which is a `GroupMember`. Unless that is too long for a line, the request has the same as
    `in` and `images`.
    """

    v: Literal[1] = 1
    op: Annotated[str, Field(min_length=1, max_length=64)]
    params: dict[str, Any] = {}
    inputs: Annotated[list[str], Field(alias="in")] = []
    out: str = ""
    regions: list[Regions] = []
    images: list[GroupMember] = []
    listing: str = ""


class ResponseError(_Message):
    """Why a request failed: an image error code, and whether the same request may succeed later.

    `step` is `decode` if a file that was given could not be read; otherwise it is left out.
    """

    code: Annotated[str, Field(max_length=64)]
    message: str = ""
    retry: bool = False
    step: Annotated[str | None, Field(max_length=64)] = None


class Response(_Message):
    """The response to a request: the files of its results in order, or an error.

    A group step may make files of any type instead of images; they are results as they are, under their own names.

    `regions` are what the program found in each result, in its pixels, and are added to those of the part that it was
    made of if the size is the same; of `encode`, they are all regions of each file. `warnings` are codes for what each
    file of `encode` lacks of its source. Both may be left out.
    """

    v: Literal[1] = 1
    ok: bool
    out: list[str] = []
    regions: list[Regions] = []
    warnings: list[list[str]] = []
    error: ResponseError | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.ok and self.error is None:
            raise ValueError("a response that is not ok needs an error")
        for name, lists in (("regions", self.regions), ("warnings", self.warnings)):
            if lists and len(lists) != len(self.out):
                raise ValueError(f"{len(lists)} lists of {name} for {len(self.out)} results; accepted is one for each")
        return self

    def found(self, index: int) -> tuple[Region, ...]:
        """Return the regions of one result."""
        return self.regions[index] if self.regions else ()


class Description(_Message):
    """The response to `describe`.

    `params` is the JSON Schema of the operation's parameters; a program for several operations gives one for each in
    `operations`. `accepts` lists the file types that it reads, such as `jpeg`: if it is the first step, it
    decodes images of these types itself. `group` says that `step` is a group step. `gpu` says that it needs a GPU.
    `metadata` says that files may hold, besides pixels, what belongs to an image, as those of Penstock's own steps do;
    other programs are given pixels alone.
    """

    v: Literal[1] = 1
    step: Annotated[str, Field(min_length=1, max_length=40)]
    version: str = ""
    params: dict[str, Any] = {}
    operations: dict[str, dict[str, Any]] = {}
    accepts: list[str] = [RAW]
    group: bool = False
    gpu: bool = False
    metadata: bool = False

    def schema_of(self, step: str) -> dict[str, Any] | None:
        """Return the JSON Schema of a step's parameters; None if the program does not run that step."""
        return self.params if step == self.step else self.operations.get(step)


M = TypeVar("M", bound=_Message)


def write_message(message: Request | Response | Description) -> bytes:
    """Return a message as a line with its newline; fields that were not set are left out."""
    fields = message.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return json.dumps({"v": VERSION, **fields}, separators=(",", ":")).encode() + b"\n"


def read_message(kind: type[M], line: bytes) -> M:
    """Parse a line as a message of a kind. Raises ProtocolError if it is invalid or of another version."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        fault = first_fault(error)
        where = ".".join(fault.path) or "line"
        raise ProtocolError("unreadable_line", f"{where}: {fault.text}") from error

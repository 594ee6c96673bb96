"""Manifest lines: what a run writes about its images, and what a later run accepts of it.

A manifest may be truncated, edited or not from a run at all, so each line is checked by a model, and no line is read
beyond a limit.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from penstock.common.model.errors import RequestError
from penstock.common.model.result_names import PARTS
from penstock.common.wording.faults import first_fault
from penstock.local.results_folder import is_relative_name

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Longest line that is read. One of 4,096 results has about a million bytes."""
_MAX_RESULT_BYTES = 1 << 40
_PIECE = 1024 * 1024


def _check_name(name: str) -> str:
    if not is_relative_name(name):
        raise ValueError("it leads out of the folder for results")
    return name


Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Head(BaseModel):
    """The first line: the plan and the template of names that all results have. Version 0.1.0 had no names."""

    penstock: Literal[1]
    plan: list[dict[str, Any]]
    names: str = PARTS


class ListedResult(BaseModel, extra="allow"):
    """A result as its image's line lists it. `mtime_ns` is None if version 0.1.0 wrote it."""

    name: Annotated[str, AfterValidator(_check_name)]
    size: int = Field(ge=0, le=_MAX_RESULT_BYTES)
    sha256: str
    mtime_ns: int | None = None


class Entry(BaseModel, extra="allow"):
    """The line of an image with results.

    `source` is a digest of the image as it was, `input` one of its path alone, None if version 0.1.0 wrote it.
    `outdated`: the results are not what the image would give now, but they are there, and no other file.
    """

    state: Literal["done", "outdated"]
    source: Hex64
    input: Hex64 | None = None
    results: list[ListedResult] = Field(min_length=1)


class _Line(BaseModel):
    """Any line."""

    state: Literal["done", "outdated", "failed", "ignored"]


class Listed(NamedTuple):
    """An entry and its line, with the line's end."""

    entry: Entry
    line: bytes


@dataclass
class Skipped:
    """The lines that were skipped: how many, and the first with what is wrong with it."""

    count: int = 0
    first: str = ""

    def add(self, number: int, reason: str) -> None:
        self.count += 1
        self.first = self.first or f"line {number}: {reason}"


@dataclass
class ManifestFile:
    """The manifest of an earlier run, read line by line."""

    path: Path
    skipped: Skipped = field(default_factory=Skipped)

    def head(self) -> Head | None:
        """Return its first line; None if there is no manifest, or none that was completely written.

        Raises:
            RequestError: the file is not a manifest of a run.
        """
        first = next(self._lines(), b"")
        try:
            return Head.model_validate_json(first)
        except ValidationError as error:
            if not first.strip(b"\0 \r\n") or (not first.endswith(b"\n") and first.startswith(b'{"pen'[: len(first)])):
                return None
            message = f"{self.path} is no manifest of penstock run; move it, or choose another --out"
            raise RequestError(409, "foreign_manifest", message) from error

    def entries(self) -> Iterator[Listed]:
        """Yield the images with results; counts in `skipped` the lines that are no manifest's."""
        self.skipped = Skipped()
        for number, line in enumerate(self._lines(), 1):
            if number == 1:
                continue
            try:
                if _Line.model_validate_json(line).state in ("done", "outdated"):
                    yield Listed(Entry.model_validate_json(line), line.rstrip(b"\n") + b"\n")
            except ValidationError as error:
                if not line.endswith(b"\n"):
                    continue  # the last line of a run that was killed
                fault = first_fault(error)
                where = ".".join(fault.path)
                self.skipped.add(number, f"{where}: {fault.text}" if where else fault.text)

    def _lines(self) -> Iterator[bytes]:
        """Yield all lines; of one beyond the limit, only its beginning, which is not JSON."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise _not_a_file(self.path) from error
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _not_a_file(self.path)
            while line := file.readline(MAX_LINE_BYTES):
                if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
                    yield line
                else:
                    yield b"a line that is too long\n"
                    _skip_line(file)


def _skip_line(file: BinaryIO) -> None:
    while (piece := file.readline(_PIECE)) and not piece.endswith(b"\n"):
        pass


def _not_a_file(path: Path) -> RequestError:
    return RequestError(409, "foreign_manifest", f"{path} is a link or no file; move it, or choose another --out")


def write_line(document: dict[str, Any]) -> bytes:
    """Return a line of a manifest."""
    return json.dumps(document).encode() + b"\n"

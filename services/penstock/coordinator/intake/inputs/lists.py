"""Input lists: files in a bucket or below the folder for inputs that list images, one per line. Read as streams.

A line is a URL or a path, or a JSON object that has it as `uri` beside the image's regions and labels.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from penstock.common.input_root import InputRoot
from penstock.common.model.errors import ImageError, RequestError
from penstock.common.model.jobs import Labels
from penstock.common.sidecars import read_regions, write_regions
from penstock.common.store.base import ObjectNotFoundError
from penstock.common.store.bucket_allowlist import MAX_URL_CHARACTERS, BucketAllowlist, Location, SourceForbiddenError
from penstock.common.wording.faults import first_fault

MAX_LINE_BYTES = 4 * MAX_URL_CHARACTERS
MAX_JSON_LINE_BYTES = 64 * 1024
_JSON = re.compile(r'\s*\{\s*"')
"""The beginning of a line that is a JSON object, and of hardly any file's name."""
_CHUNK_BYTES = 1024 * 1024
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


class LocalFile(NamedTuple):
    """A file below the folder for inputs."""

    root: InputRoot
    path: Path


@dataclass(frozen=True)
class InputList:
    """A list of up to `max_bytes`. `pointer` leads to it in the job document, `shown` is its name for messages."""

    location: Location | LocalFile
    shown: str
    pointer: str
    max_bytes: int

    def lines(self, buckets: BucketAllowlist) -> Iterator[tuple[int, str]]:
        """Yield the number and text of every line that is not blank and doesn't start with `#`.

        Raises:
            RequestError: 422 if the list doesn't exist, is too large, or is not UTF-8.
        """
        number = 0
        for block in self._blocks(buckets):
            for line in block:
                number += 1
                text = line.strip()
                if text and text[0] != "#":
                    yield number, text

    def entries(self, buckets: BucketAllowlist) -> Iterator[tuple[int, str, str | None, str | None]]:
        """Yield the number of every line that lists an image, its URL or path, and its regions and labels as JSON.

        Raises:
            RequestError: 422 as `lines` does, or for a line with invalid JSON, regions or labels.
        """
        for number, text in self.lines(buckets):
            if _JSON.match(text) is None:
                yield number, text, None, None
                continue
            try:
                uri, regions, labels = _read_object(text)
            except ValueError as error:
                raise self.line_error(number, 422, "invalid_manifest", str(error)) from error
            yield number, uri, regions, labels

    def line_error(self, number: int, status: int, code: str, why: str) -> RequestError:
        """Return the error for a line."""
        return RequestError(status, code, f"line {number} of {self.shown}: {why}", self.pointer)

    def _blocks(self, buckets: BucketAllowlist) -> Iterator[list[str]]:
        """Yield complete lines, many at a time."""
        rest, before = b"", 0
        for chunk in self._chunks(buckets):
            data = rest + chunk
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            block = self._decode(data[:end], before)
            before += len(block)
            most = MAX_JSON_LINE_BYTES if rest.lstrip().startswith(b"{") else MAX_LINE_BYTES
            if len(rest) > most:
                raise self.line_error(before + 1, 422, "invalid_manifest", f"it is over {most} bytes long")
            yield block
        yield self._decode(rest, before)

    def _decode(self, data: bytes, before: int) -> list[str]:
        try:
            text = data.decode("utf-8" if before else "utf-8-sig")
        except UnicodeDecodeError as error:
            number = before + 1 + data.count(b"\n", 0, error.start)
            raise self.line_error(number, 422, "invalid_manifest", "it is not UTF-8") from error
        return text.removesuffix("\n").split("\n") if text else []

    def _chunks(self, buckets: BucketAllowlist) -> Iterator[bytes]:
        try:
            if isinstance(self.location, LocalFile):
                yield from self._local_chunks(self.location)
            else:
                yield from self._stored_chunks(self.location, buckets)
        except ObjectNotFoundError as error:
            raise RequestError(422, "source_not_found", f"there is no {self.shown}", self.pointer) from error

    def _stored_chunks(self, location: Location, buckets: BucketAllowlist) -> Iterator[bytes]:
        found = buckets.stat(location)
        if found is None:
            raise ObjectNotFoundError(location.key)
        self._check_size(found.size_bytes)
        yield from buckets.store(location).stream(location.key, 0, found.size_bytes)

    def _local_chunks(self, given: LocalFile) -> Iterator[bytes]:
        try:
            with given.root.open(os.fsencode(given.path)) as (file, status):
                left = status.st_size
                self._check_size(left)
                while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
                    left -= len(chunk)
                    yield chunk
        except ImageError as error:
            raise ObjectNotFoundError(str(given.path)) from error

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.max_bytes:
            message = f"{self.shown} has {size_bytes} bytes; accepted are up to {self.max_bytes}"
            raise RequestError(422, "too_large_manifest", message, self.pointer)


def _read_object(text: str) -> tuple[str, str | None, str | None]:
    """Return the URL or path of a line that is a JSON object, and its regions and labels. Raises ValueError."""
    if len(text.encode()) > MAX_JSON_LINE_BYTES:
        raise ValueError(f"it is over {MAX_JSON_LINE_BYTES} bytes long")
    try:
        document = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    uri = document.get("uri")
    if not isinstance(uri, str) or not uri or len(uri) > MAX_URL_CHARACTERS:
        raise ValueError(f'it has no "uri" with the image\'s URL or path, of up to {MAX_URL_CHARACTERS} characters')
    unknown = document.keys() - {"uri", "regions", "labels"}
    if unknown:
        raise ValueError(f"it has {min(unknown)[:40]!a}; accepted are uri, regions and labels")
    regions = write_regions(read_regions(document["regions"])) if "regions" in document else None
    return uri, regions, _read_labels(document["labels"]) if "labels" in document else None


def _read_labels(given: Any) -> str:
    """Return labels as the database has them. Raises ValueError."""
    try:
        labels = _LABELS.validate_python(given, strict=True)
    except ValidationError as error:
        raise ValueError(f"labels: {first_fault(error).text}") from error
    if not all(text.isprintable() for label in labels.items() for text in label):
        raise ValueError("its labels have unprintable characters")
    return json.dumps(labels)


def read_path(text: str, root: str) -> str:
    """Return a line's path relative to `root`, without looking it up: that would take hours for a long list.

    The worker that opens the file resolves its links, and refuses a path outside.

    Raises:
        SourceForbiddenError: it leads out of `root`, or to a hidden file.
    """
    path = text.removeprefix(f"{root}/").removeprefix("./")
    if any(part == "" or part[0] == "." for part in path.split("/")):
        raise SourceForbiddenError("source_forbidden", f"{text[:80]!a} is hidden or not below the folder for inputs")
    if not text.isprintable():
        raise SourceForbiddenError("source_forbidden", f"{text[:80]!a} has unprintable characters")
    return path

"""One image: the request that processes it at once, and its results."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import httpx

from penstock.client.errors import DamagedError, LocalFileError
from penstock.client.request import Request
from penstock.common.model.jobs import parse_op
from penstock.common.model.operations import BUILT_IN
from penstock.common.model.parameters import Parameters

_MULTIPART = "multipart/mixed"

Op = str | list[Any] | tuple[Any, ...] | Mapping[str, Any] | Parameters
Ops = Iterable[Op]
"""Operations in any form: `"resize=512x512"` as on the command line, `["resize", "512x512"]`,
`{"op": "resize", "width": 512, "height": 512}`, or `Resize(width=512, height=512)`."""

_NAMES = {model: name for name, model in BUILT_IN.items()}

T = TypeVar("T")


@dataclass(frozen=True)
class ResultFile:
    """One result of an image, with its bytes. `warnings` are codes of what it lacks of the source."""

    name: str
    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    sha256: str
    warnings: tuple[str, ...] = ()


class OneImage(NamedTuple):
    """The bytes of an image, and the name of its file if it has one."""

    data: bytes
    filename: str | None

    @classmethod
    def read(cls, image: bytes | str | os.PathLike[str]) -> "OneImage":
        """Return an image that is given as bytes or as a path. Raises LocalFileError."""
        if isinstance(image, bytes | bytearray | memoryview):
            return cls(bytes(image), None)
        path = os.fspath(image)
        try:
            with open(path, "rb") as file:
                return cls(file.read(), os.path.basename(path))
        except OSError as error:
            raise LocalFileError(f"{path}: {error.strerror}") from error

    def request(self, ops: Ops, options: Mapping[str, Any]) -> Request[list[ResultFile]]:
        """Return the request that processes it."""
        params = {"filename": self.filename, **options, "op": [write_op(op) for op in ops]}
        return Request(
            "POST",
            "/v1/process",
            parse_results,
            params=params,
            headers={"Content-Type": "application/octet-stream", "Accept": _MULTIPART},
            content=partial(iter, [self.data]),
            size_bytes=len(self.data),
            idempotent=not options.get("keep"),
        )


def write_document(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a job document whose operations, given in any form, are in those of the REST API."""
    if "operations" not in document:
        return document
    return {**document, "operations": [_describe(op) for op in document["operations"]]}


def _describe(op: Op) -> Any:
    if isinstance(op, Parameters):
        return {"op": _NAMES[type(op)], **op.model_dump(mode="json", exclude_defaults=True)}
    return parse_op(op) if isinstance(op, str) else op


def write_op(op: Op) -> str:
    """Return an operation as the command line writes it: `resize=512x512`."""
    if isinstance(op, str):
        return op
    if isinstance(op, Parameters):
        return write_op(_describe(op))
    if isinstance(op, Mapping):
        return f"{op['op']}={json.dumps({name: value for name, value in op.items() if name != 'op'})}"
    name, *values = op
    return "=".join([name, *map(_write_value, values)])


def _write_value(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)  # a text that would be read as a number, for example


def parse_results(response: httpx.Response) -> list[ResultFile]:
    """Return the results in a multipart message, whose parts have their length.

    Raises:
        DamagedError: one does not match its checksum.
        ValueError, KeyError: it is not such a message.
    """
    media_type, _, boundary = response.headers["content-type"].partition("; boundary=")
    if media_type != _MULTIPART:
        raise ValueError(f"{media_type}; expected is {_MULTIPART}")
    return [_result(headers, data) for headers, data in _parts(response.content, boundary.encode())]


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[httpx.Headers, bytes]]:
    start = 0
    while not body.startswith(b"--%b--" % boundary, start):
        if not body.startswith(b"--%b\r\n" % boundary, start):
            raise ValueError("no part begins where the last one ends")
        end = body.index(b"\r\n\r\n", start)
        fields = (line.partition(": ") for line in body[start:end].decode("latin-1").split("\r\n")[1:])
        headers = httpx.Headers({name: value for name, _, value in fields})
        end += 4
        start = end + int(headers["content-length"])
        yield headers, body[end:start]
        start += 2


def _result(headers: httpx.Headers, data: bytes) -> ResultFile:
    name, sha256 = unquote(headers["penstock-name"]), headers["etag"].strip('"')
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedError(f"{name} does not match its checksum after the download")
    warnings = headers.get("penstock-warnings")
    return ResultFile(
        name,
        data,
        headers["content-type"],
        int(headers["penstock-width"]),
        int(headers["penstock-height"]),
        sha256,
        tuple(warnings.split(", ")) if warnings else (),
    )

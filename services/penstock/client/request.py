"""Request: one call of the REST API as data, and the parsers of responses."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from penstock.client.errors import UnexpectedAnswerError
from penstock.client.local_files import AtomicFile, Photo
from penstock.common.model.rest import UploadedFile

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True)
class Request(Generic[T]):
    """One request.

    Args:
        method: the HTTP method.
        path: the path below the server's URL, with the query of a next page.
        parse: turns a successful response into the result.
        sink: opens the file that the response's body is written to; without it, the body is read into memory.
        params: the query; None values are left out.
        headers: more headers.
        content: makes a new body for each attempt.
        size_bytes: the size of the body.
        idempotent: whether sending it twice has the same effect as sending it once.
    """

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    sink: Callable[[], AtomicFile] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Callable[[], Iterator[bytes]] | None = None
    size_bytes: int = 0
    idempotent: bool = True

    def httpx_arguments(self, base: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the arguments of `httpx.Client.stream`, with more headers, without the body.

        `base` is the path of the server's URL, which the server puts before its links, and httpx before all paths.

        Raises:
            UnexpectedAnswerError: the path would lead to another server, which must not get the API key.
        """
        if not (self.path.startswith("/") and self.path.isprintable()):
            raise UnexpectedAnswerError(f"{self.path[:80]!a} is not a path of this server")
        headers = {**self.headers, **(headers or {})}
        if self.content is not None:
            headers["Content-Length"] = str(self.size_bytes)
        path = self.path.removeprefix(base) if self.path.startswith(f"{base}/") else self.path
        params = {key: value for key, value in self.params.items() if value is not None}
        return {"method": self.method, "url": path, "params": params or None, "headers": headers}

    def result(self, response: httpx.Response) -> T:
        """Return the result of a successful response.

        Raises:
            UnexpectedAnswerError: the response is not one of Penstock's.
        """
        try:
            return self.parse(response)
        except (ValueError, KeyError, TypeError) as error:  # pydantic's and JSON's are ValueErrors
            raise UnexpectedAnswerError(
                f"unexpected response {response.status_code} from {response.request.url}: is it a Penstock server?"
            ) from error


def post_json(
    path: str,
    document: Mapping[str, Any],
    parse: Callable[[httpx.Response], T],
    *,
    headers: Mapping[str, str] | None = None,
    idempotent: bool = True,
) -> Request[T]:
    """Return a request that sends a JSON document."""
    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    content = partial(iter, [body])
    return Request("POST", path, parse, headers=headers, content=content, size_bytes=len(body), idempotent=idempotent)


def put_file(upload: str, photo: Photo, sha256: bytes) -> Request[UploadedFile]:
    """Return a request that uploads a file with its checksum."""
    return Request(
        "PUT",
        f"{path_to('uploads', upload)}/files/{quote(photo.name)}",
        parse_model(UploadedFile),
        headers={"Repr-Digest": f"sha-256=:{base64.b64encode(sha256).decode()}:"},
        content=photo.iter_bytes,
        size_bytes=photo.size_bytes,
    )


def parse_model(model: type[M]) -> Callable[[httpx.Response], M]:
    """Return a parser of a JSON object."""
    return lambda response: model.model_validate_json(response.content)


def parse_list(field: str, model: type[M]) -> Callable[[httpx.Response], list[M]]:
    """Return a parser of the list in a field of a JSON object."""
    return lambda response: [model.model_validate(item) for item in response.json()[field]]


def parse_page(field: str, model: type[M]) -> Callable[[httpx.Response], tuple[list[M], str | None]]:
    """Return a parser of a page whose items are in a field: returns them, and the path of the next page."""
    parse_items = parse_list(field, model)
    return lambda response: (parse_items(response), response.json()["next"])


def ignore(_: object) -> None:
    """Ignore a response, or a report of progress."""


def path_to(collection: str, name: str) -> str:
    """Return the path of a job or an upload."""
    return f"/v1/{collection}/{quote(name, safe='')}"

"""Request: one call of the REST API as data, and the parsers of responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel

from penstock.client.errors import UnexpectedAnswerError
from penstock.client.local_files import AtomicFile

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
        content: makes the body, anew for each attempt.
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

    def httpx_arguments(self, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the arguments of `httpx.Client.stream`, with more headers, without the body.

        Raises:
            UnexpectedAnswerError: the path would lead to another server, which must not get the API key.
        """
        if not (self.path.startswith("/") and self.path.isprintable()):
            raise UnexpectedAnswerError(f"{self.path[:80]!a} is not a path of this server")
        headers = {**self.headers, **(headers or {})}
        if self.content is not None:
            headers["Content-Length"] = str(self.size_bytes)
        params = {key: value for key, value in self.params.items() if value is not None}
        return {"method": self.method, "url": self.path, "params": params or None, "headers": headers}

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
    return Request(
        "POST",
        path,
        parse,
        headers=headers,
        content=lambda: iter([body]),
        size_bytes=len(body),
        idempotent=idempotent,
    )


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, and the path of the next one."""

    items: Sequence[T]
    next: str | None


def parse_model(model: type[M]) -> Callable[[httpx.Response], M]:
    """Return a parser of a JSON object."""
    return lambda response: model.model_validate_json(response.content)


def parse_list(field: str, model: type[M]) -> Callable[[httpx.Response], list[M]]:
    """Return a parser of the list in a field of a JSON object."""
    return lambda response: [model.model_validate(item) for item in response.json()[field]]


def parse_page(field: str, model: type[M]) -> Callable[[httpx.Response], Page[M]]:
    """Return a parser of a page whose items are in a field."""

    def parse(response: httpx.Response) -> Page[M]:
        page = response.json()
        return Page([model.model_validate(item) for item in page[field]], page["next"])

    return parse


def ignore_body(_: httpx.Response) -> None:
    """Parse nothing."""

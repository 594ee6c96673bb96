"""Request bodies on their way in: streamed in bounded memory, with nothing left behind when they don't make it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from penstock.common.model.errors import RequestError

_PIECE_BYTES = 1024 * 1024
"""Network chunks are gathered up to this before they go to a thread: a small upload costs one hop."""

_IDLE_SECS = 60
"""How long a client may send nothing."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Recipient(Protocol[T_co]):
    """Takes a body piece by piece; its methods run in threads, one at a time."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    def finish(self, data: bytes) -> T_co:
        """Take the last bytes and make an answer of all."""

    def abort(self) -> None:
        """Undo: the body won't come to its end, or was refused."""


class BufferedBody(Generic[T]):
    """A small body, gathered in memory.

    Args:
        answer: makes the answer of all of it.
    """

    def __init__(self, answer: Callable[[bytes], T]) -> None:
        self._answer = answer
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._data += data

    def finish(self, data: bytes) -> T:
        """Take the last bytes and answer."""
        return self._answer(bytes(self._data + data))

    def abort(self) -> None:
        """Forget what came in."""
        self._data.clear()


async def receive(request: Request, recipient: Recipient[T], max_bytes: int) -> T:
    """Stream a request's body to a recipient and return its answer.

    Raises:
        RequestError: 413 for more than `max_bytes`, declared or not; 408 for a client that fell silent; and whatever
            the recipient raises. It was told to abort then, as for a client that left.
        ClientDisconnect: the client left.
    """
    try:
        last = await _feed(request, recipient, max_bytes)
        return await run_in_threadpool(recipient.finish, last)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(recipient.abort)
        raise


async def _feed(request: Request, recipient: Recipient[T], max_bytes: int) -> bytes:
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    held = bytearray()
    total = 0
    while True:
        chunk, more = await _next_chunk(request)
        total += len(chunk)
        if total > max_bytes:
            raise _too_large(max_bytes)
        held += chunk
        if not more:
            return bytes(held)
        if len(held) >= _PIECE_BYTES:
            piece, held = bytes(held), bytearray()
            await run_in_threadpool(recipient.feed, piece)


async def _next_chunk(request: Request) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(_IDLE_SECS):
            message = await request.receive()
    except TimeoutError as error:
        raise RequestError(408, "request_timeout", f"nothing was sent for {_IDLE_SECS} s") from error
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "too_large_request", f"the request is larger than {max_bytes} bytes")

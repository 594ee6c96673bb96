"""Request bodies: received in bounded memory from clients that may send too much, stop sending, or leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol, TypeVar

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.auth.upload_quota import UploadQuota
from penstock.coordinator.intake.received_files import ReceivedFiles

_CHUNK_BYTES = 1024 * 1024
"""Network chunks are collected up to this size for each switch to a thread."""

T_co = TypeVar("T_co", covariant=True)
FilesT = TypeVar("FilesT", bound=ReceivedFiles)


class BodyReceiver(Protocol[T_co]):
    """Takes a body in chunks. Its methods run in threads, one at a time."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    def finish(self, data: bytes) -> T_co:
        """Take the last bytes and return what the body becomes."""

    def abort(self) -> None:
        """Undo everything: the body was refused, or the client left."""


class MaxBytes(NamedTuple):
    """Most bytes of a request, and the limit that says so, if there is one."""

    size: int
    setting: str = ""

    @classmethod
    def of(cls, limits: Limits, setting: str) -> "MaxBytes":
        """Return a limit."""
        return cls(getattr(limits, setting), setting)


async def receive_body(
    request: Request, caller: Caller, receiver: BodyReceiver[T_co], most: MaxBytes, idle_secs: float
) -> T_co:
    """Stream a request's body to a receiver and return its result; abort the receiver if that fails.

    Raises:
        RequestError: 413 for more than `most`; 408 if nothing arrives for `idle_secs`; 429 or 507 above the
            caller's or the server's quota of uploads; the receiver's own.
        ClientDisconnect: the client left.
    """
    quota: UploadQuota = request.app.state.upload_quota
    held = bytearray()
    try:
        _check_size(_announced_bytes(request), most)
        if not quota.is_fresh(caller):
            await run_in_threadpool(quota.refresh, caller)
        with quota.receive(caller, _announced_bytes(request)) as count:
            async for chunk in _chunks(request, most, idle_secs):
                count(len(chunk))
                held += chunk
                if len(held) >= _CHUNK_BYTES:
                    await run_in_threadpool(receiver.feed, bytes(held))
                    held.clear()
            return await run_in_threadpool(receiver.finish, bytes(held))
    except BaseException:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(receiver.abort)
        raise


@asynccontextmanager
async def received_files(
    request: Request, caller: Caller, files: FilesT, most: MaxBytes, idle_secs: float
) -> AsyncIterator[FilesT]:
    """Receive a request's files; remove them afterwards unless a job keeps them. Raises as `receive_body`."""
    await receive_body(request, caller, files, most, idle_secs)
    try:
        yield files
    finally:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(files.close)


async def read_body(request: Request, most: MaxBytes, idle_secs: float) -> bytes:
    """Return a request's body; raises as `receive_body`."""
    _check_size(_announced_bytes(request), most)
    return b"".join([chunk async for chunk in _chunks(request, most, idle_secs)])


async def _chunks(request: Request, most: MaxBytes, idle_secs: float) -> AsyncIterator[bytes]:
    received, more = 0, True
    while more:
        chunk, more = await _next_chunk(request, idle_secs)
        received += len(chunk)
        _check_size(received, most)
        yield chunk


def _announced_bytes(request: Request) -> int:
    return int(request.headers.get("content-length", 0))


def _check_size(size_bytes: int, most: MaxBytes) -> None:
    if size_bytes > most.size:
        setting = f" (PENSTOCK_{most.setting.upper()})" if most.setting else ""
        raise RequestError(413, "too_large_request", f"the request is larger than {most.size} bytes{setting}")


async def _next_chunk(request: Request, idle_secs: float) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(idle_secs):
            message = await request.receive()
    except TimeoutError as error:
        raise RequestError(408, "request_timeout", f"nothing arrived for {idle_secs:g} s") from error
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)

"""Lingering close: lets a client read an answer that is sent before its request has arrived completely."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LingeringClose:
    """Middleware that sends an early answer at once, then reads on for a while before the connection closes.

    If a connection is closed while data arrives, the kernel resets it, and the client reports the reset instead of the
    answer (RFC 9112, section 9.6).
    """

    def __init__(self, app: ASGIApp, *, max_secs: float = 10.0, max_bytes: int = 1024**3) -> None:
        self._app = app
        self._max_secs = max_secs
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body_ended = is_early = False

        async def receive_and_note_end() -> Message:
            nonlocal body_ended
            message = await receive()
            body_ended = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def send_and_linger(message: Message) -> None:
            nonlocal is_early
            if message["type"] == "http.response.start" and not body_ended:
                is_early = True
                MutableHeaders(scope=message)["Connection"] = "close"
            if not is_early or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            await discard_body()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def discard_body() -> None:
            left = self._max_bytes
            try:
                async with asyncio.timeout(self._max_secs):
                    while left > 0 and not body_ended:
                        left -= len((await receive_and_note_end()).get("body", b""))
            except TimeoutError:
                return

        await self._app(scope, receive_and_note_end, send_and_linger)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

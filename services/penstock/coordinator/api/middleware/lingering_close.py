"""Answers that come before the request's body has ended, sent so that the client gets to read them."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LINGER_SECS = 10.0
_LINGER_BYTES = 1024 * 1024 * 1024


class LingeringClose:
    """Sends an early answer at once, then reads on for a bounded time and amount before the connection closes.

    Closing while bytes are still coming in makes the kernel reset the connection, and the client, busy sending,
    reports that instead of the answer (RFC 9112, section 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._body_ended = False
        self._early = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._body_ended:
            self._early = True
            MutableHeaders(scope=message)["Connection"] = "close"
        if not self._early or message["type"] != "http.response.body" or message.get("more_body", False):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        left = _LINGER_BYTES
        try:
            async with asyncio.timeout(_LINGER_SECS):
                while left > 0 and not self._body_ended:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def _has_body(scope: Any) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

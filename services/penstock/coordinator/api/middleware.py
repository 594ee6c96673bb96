"""Middleware: security headers, same-origin checks and lingering close."""

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.coordinator.api.problems import problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS = {
    "Cache-Control": "no-store",  # answers depend on the key: no cache may show one caller's to another
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Middleware that adds these headers to every answer that does not have them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class SameOrigin:
    """Middleware that refuses changes that a page of another site makes a browser send.

    Browsers send forms to any address, a server on loopback included. They name the page's origin, or at least say that
    it is another one (`Sec-Fetch-Site`), or older ones the page (`Referer`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or _is_same_origin(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        detail = "this request comes from a page of another site; accepted are this server's Origin, or none"
        await problem(403, "foreign_origin", detail)(scope, receive, send)


class LoopbackHost:
    """Middleware that refuses a `Host` other than `localhost` or an IP address.

    By DNS rebinding a hostile page can point its own name at loopback; the browser then lets it read this server's
    answers. `Host` still holds that name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host") if scope["type"] == "http" else None
        if host is None or _is_loopback_name(host):  # browsers always send one
            await self._app(scope, receive, send)
            return
        detail = (
            f"host {ascii(host)[:80]} is not accepted; accepted are localhost and IP addresses,"
            " and any name with API keys or PENSTOCK_OPEN=true"
        )
        await problem(403, "foreign_host", detail)(scope, receive, send)


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


def _is_same_origin(headers: Headers) -> bool:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is None and site is not None:
        return site in ("same-origin", "none")  # none: the user's own doing, such as a bookmark
    page = headers.get("referer") if origin is None else origin
    try:
        return page is None or urlsplit(page).netloc == headers.get("host")
    except ValueError:  # not a URL
        return False


def _is_loopback_name(host: str) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
        if name != "localhost" and not name.endswith(".localhost"):
            ip_address(name)
    except ValueError:
        return False
    return True


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

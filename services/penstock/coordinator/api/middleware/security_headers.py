"""Headers that keep browsers from making more of an answer than it is."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.coordinator.api.problems import problem

_UNLESS_SAID = {
    "Cache-Control": "no-store",  # what one key is shown is no other's, also not out of a browser's or proxy's cache
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOrigin:
    """Middleware that refuses what a page of another site makes a browser send.

    A server on loopback has no other guard against a hostile page: browsers send forms anywhere, and say from where.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or _is_own(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        detail = "a page of another site sent this; accepted are requests without Origin, or with this server's own"
        await problem(403, "foreign_origin", detail)(scope, receive, send)


def _is_own(headers: Headers) -> bool:
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # an address that is none
        return False


class LoopbackHost:
    """Middleware that refuses requests for a name that is not this host's own: `localhost`, or any address.

    A hostile page can have its own name lead to loopback once a browser has it (DNS rebinding). Then the browser takes
    this server for that page's own, and lets it read and change everything; but the name still stands in `Host`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host") if scope["type"] == "http" else None
        if _is_here(host):
            await self._app(scope, receive, send)
            return
        detail = (
            f"{ascii(host)[:80]} is not this host; accepted are localhost and addresses,"
            " or any name with API keys or PENSTOCK_OPEN=true"
        )
        await problem(403, "foreign_host", detail)(scope, receive, send)


def _is_here(host: str | None) -> bool:
    if host is None:  # no browser asks without
        return True
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
        if name != "localhost" and not name.endswith(".localhost"):
            ip_address(name)
    except ValueError:
        return False
    return True


class SecurityHeaders:
    """Middleware that adds them to every answer; a page's own policy stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secure(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _UNLESS_SAID.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", _POLICY)
            await send(message)

        await self._app(scope, receive, secure)

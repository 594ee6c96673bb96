"""Same-origin checks: refuse requests that a page of another site makes a browser send."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.coordinator.api.problems import problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOrigin:
    """Middleware that refuses changes with the `Origin` of another site.

    Browsers send forms to any address, a server on loopback included, and name the page's origin.
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


def _is_same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
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

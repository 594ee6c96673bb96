"""Prefix: the path below which a proxy shows this server. Requests lose it, and links get it."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.coordinator.ports.links import links_below, read_prefix

Network = IPv4Network | IPv6Network


class Prefix:
    """Middleware that takes the path of the public URL, or what a trusted proxy says, off the requests' paths.

    Proxies may have taken it off already.
    """

    def __init__(self, app: ASGIApp, prefix: str, trusted: Sequence[Network]) -> None:
        self._app = app
        self._configured = prefix
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = self._find(scope) if scope["type"] == "http" else ""
        if not prefix:
            await self._app(scope, receive, send)
            return
        with links_below(prefix):
            if scope["path"] == prefix:
                await RedirectResponse(f"{prefix}/", 307)(scope, receive, send)
                return
            if scope["path"].startswith(f"{prefix}/"):
                raw = scope.get("raw_path") or b""
                scope["path"] = scope["path"].removeprefix(prefix)
                scope["raw_path"] = raw.removeprefix(prefix.encode())
            await self._app(scope, receive, send)

    def _find(self, scope: Scope) -> str:
        given = Headers(scope=scope).get("x-forwarded-prefix")
        if given is None or not self._is_trusted(scope):
            return self._configured
        return read_prefix(given) or ""

    def _is_trusted(self, scope: Scope) -> bool:
        try:
            address = ip_address(scope["client"][0])
        except (TypeError, ValueError):
            return False
        return any(address in network for network in self._trusted)

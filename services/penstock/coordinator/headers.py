"""Headers that keep browsers from making more of an answer than it is."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_SCRIPTED = "/docs"
"""Its page brings a script of its own, so no policy stands over it."""


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
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith(_SCRIPTED):
                    headers.setdefault("Content-Security-Policy", _POLICY)
            await send(message)

        await self._app(scope, receive, secure)

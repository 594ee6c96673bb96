"""HTTP rules: middleware for what RFC 9110 asks of any server: host, target, HEAD, and encodings of bodies."""

import re
import zlib
from collections import deque
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.common.model.errors import RequestError
from penstock.coordinator.api.problems import problem

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]{0,5})?")
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW = 31
"""The largest window, in a stream with the header of gzip."""
_PIECE_BYTES = 256 * 1024


class WellFormed:
    """Middleware that refuses a request that different programs on its way could understand differently."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = _refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await problem(refused.status, refused.code, refused.message)(scope, receive, send)


class AnswerHead:
    """Middleware that answers HEAD as GET, without the body. What would make the body is stopped."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                raise _HeadSentError
            await send(message)

        try:
            await self._app({**scope, "method": "GET"}, receive, send_head)
        except* _HeadSentError:
            pass


class DecodeBody:
    """Middleware that unpacks bodies with `Content-Encoding: gzip`, piece by piece, and refuses other encodings.

    The limits on bodies hold for what is unpacked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        encoding = Headers(scope=scope).get("content-encoding", "") if scope["type"] == "http" else ""
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            await self._app(scope, receive, send)
        elif encoding not in _GZIP:
            detail = f"Content-Encoding {encoding[:40]!a} is not accepted; accepted is gzip, or none"
            headers = {"Accept-Encoding": "gzip"}
            await problem(415, "unsupported_encoding", detail, headers=headers)(scope, receive, send)
        else:
            unpacked = (b"content-encoding", b"content-length")
            headers_left = [(name, value) for name, value in scope["headers"] if name not in unpacked]
            chunked = [] if b"transfer-encoding" in dict(headers_left) else [(b"transfer-encoding", b"chunked")]
            await self._app({**scope, "headers": headers_left + chunked}, _Unpacked(receive).receive, send)


class _Unpacked:
    """The body of a request as it was before it was packed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self._packed: deque[bytes] = deque()
        self._has_ended = False

    async def receive(self) -> Message:
        """Return the next piece.

        Raises:
            RequestError: 400 for what is not gzip, is cut off, or goes on after its end.
        """
        while not self._packed and not self._has_ended:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            if message.get("body"):
                self._packed.append(message["body"])
            self._has_ended = not message.get("more_body", False)
        body = self._unpack(self._packed.popleft()) if self._packed else b""
        more = bool(self._packed) or not self._has_ended
        if not more and not self._stream.eof:
            raise _not_gzip("it ends too early")
        return {"type": "http.request", "body": body, "more_body": more}

    def _unpack(self, packed: bytes) -> bytes:
        if self._stream.eof:
            raise _not_gzip("something follows its end")
        try:
            body = self._stream.decompress(packed, _PIECE_BYTES)
        except zlib.error as error:
            raise _not_gzip(str(error)) from error
        if self._stream.unconsumed_tail:
            self._packed.appendleft(self._stream.unconsumed_tail)
        elif self._stream.unused_data:
            raise _not_gzip("something follows its end")
        return body


class _HeadSentError(Exception):
    """The headers are sent, and the body is not wanted."""


def _not_gzip(why: str) -> RequestError:
    return RequestError(400, "invalid_encoding", f"the body is not gzip as Content-Encoding says: {why}")


def _refusal(scope: Scope) -> RequestError | None:
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) > 1 or (scope.get("http_version") == "1.1" and not hosts):
        return RequestError(400, "invalid_host", f"{len(hosts)} headers Host; accepted is one")
    if hosts and not _HOST.fullmatch(hosts[0]):
        return RequestError(
            400, "invalid_host", f"Host {hosts[0][:80]!a} is not a name or an address, with or without a port"
        )
    if not _is_utf_8(scope.get("raw_path") or b"") or not _is_utf_8(scope.get("query_string") or b""):
        return RequestError(422, "invalid_name", "a name in this URL is not UTF-8, percent-encoded")
    if scope["method"] == "PUT" and "content-range" in headers:
        return RequestError(400, "partial_put", "Content-Range is not accepted with PUT; send the whole file")
    return None


def _is_utf_8(encoded: bytes) -> bool:
    if b"%" not in encoded and encoded.isascii():
        return True
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return False
    return True

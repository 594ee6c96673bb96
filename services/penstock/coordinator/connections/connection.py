"""Connection: uvicorn's HTTP/1.1 protocol, with bounds on heads, slow bodies, and responses that nobody reads.

httptools, which parses, accepts heads of any size and at any pace. It is kept because it is fast.
"""

import asyncio
import logging
import socket
import struct
from collections import OrderedDict
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from penstock.coordinator.connections.limits import ConnectionLimits
from penstock.coordinator.connections.refusal import refusal

_PIECE_BYTES = 65_536
"""Largest part of a response that is written before the client has taken the ones before."""
_LOG_SECS = 60.0
_DROP = struct.pack("ii", 1, 0)
_log = logging.getLogger(__name__)


class Connections:
    """What the connections of a server share: their limits, and which of them wait for a request."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.waiting: OrderedDict[Connection, None] = OrderedDict()
        """Connections without a request, the one that has waited longest first."""
        self.lingering: set[Connection] = set()
        """Connections that were refused, and stay open for a moment."""
        self._swept_at: float | None = None
        self._logged_at: float | None = None

    def admit(self, connection: "Connection", others: int, now: float) -> bool:
        """Let a connection wait for a request; say whether there is room, for which the first one that waits may go."""
        if others >= self.limits.max_connections:
            if not self.waiting:
                self._log_refusals(now)
                return False
            self.waiting.popitem(last=False)[0].make_room()
        self.waiting[connection] = None
        return True

    def sweep(self, connections: set[Any], now: float) -> None:
        """End the connections that have held the server for too long. To be called about twice a second."""
        secs = 0.0 if self._swept_at is None else min(now - self._swept_at, 1.0)  # no client is to blame for a pause
        self._swept_at = now
        for connection in list(connections):
            connection.check(now, secs)

    def _log_refusals(self, now: float) -> None:
        if self._logged_at is None or now > self._logged_at + _LOG_SECS:
            self._logged_at = now
            most = self.limits.max_connections
            _log.warning("all %d connections have requests; more are refused (PENSTOCK_MAX_CONNECTIONS)", most)


class Connection(HttpToolsProtocol):
    """One connection. Its head or trailers, its body and its response each have a bound in bytes or time."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        shared: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._shared = shared
        self._limits = shared.limits
        self._since = 0.0
        """Since when it waits for a request, or for the rest of its head."""
        self._in_head = True
        self._taken_bytes = 0
        """Bytes parsed since the last head or part of a body."""
        self._is_deaf = False
        """Whether what still arrives is dropped."""
        self._closes_at: float | None = None
        self._starved_secs = 0.0
        self._starved_bytes = 0
        self._written_bytes = 0
        self._flushed_bytes = 0
        self._stalled_at: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, or refuse it with 503."""
        others = len(self.connections)
        super().connection_made(transport)
        self._since = self.loop.time()
        if not self._shared.admit(self, others, self._since):
            self._refuse(503, "too_many_connections", "every connection of this server has a request")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._shared.waiting.pop(self, None)
        self._shared.lingering.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, unless it exceeds a bound."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        if not self._taken_bytes and self._in_head:
            self._since = self.loop.time()
        self._taken_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._hang_up()  # no other protocol is spoken here; what follows is not parsed
        except httptools.HttpParserError:
            self._refuse(400, "bad_request", "this is not HTTP/1.1")
        if self._taken_bytes > self._limits.head_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a head, unless too many requests wait for their turn."""
        if len(self.pipeline) >= self._limits.max_pipelined:
            self._hang_up()  # the client sends again what got no response (RFC 9112, section 9.3.2)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, unless its head is too large."""
        if self._is_deaf:
            return
        if len(self.headers) > self._limits.max_headers or self._has_large_head():
            self._refuse_head()
            return
        super().on_headers_complete()
        self.headers = []  # for trailers, which are not used
        self._shared.waiting.pop(self, None)
        self._in_head = False
        self._taken_bytes = self._starved_bytes = 0
        self._starved_secs = 0.0

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self._is_deaf:
            self._taken_bytes = 0
            self._starved_bytes += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body; the next head follows."""
        if not self._is_deaf:
            super().on_message_complete()
            self._in_head = True
            self._taken_bytes = 0

    def on_response_complete(self) -> None:
        """Start the next request, or wait for one."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._since = self.loop.time()
            self._shared.waiting[self] = None

    def check(self, now: float, secs: float) -> None:
        """End the connection if it has waited too long for its client; `secs` have passed since the last check."""
        if self._closes_at is not None:
            if now >= self._closes_at:
                self.transport.abort()
        elif self._in_head:
            if self in self._shared.waiting and now - self._since > self._limits.wait_secs:
                self._expire()
        elif self._is_slow(secs):
            rate = self._limits.min_bytes_per_sec
            self._refuse(408, "request_timeout", f"the body arrives with less than {rate} bytes per second")
        if self._is_stalled(now):
            self._reset()

    def make_room(self) -> None:
        """Close a connection that waits for a request, for one that may have one."""
        if self._taken_bytes:
            self._refuse(503, "too_many_connections", "the head of this request took too long for a busy server")
        else:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def run(scope: Any, receive: Any, send: Any) -> None:
            async def send_pieces(message: Any) -> None:
                body = message.get("body", b"")
                if len(body) <= _PIECE_BYTES:
                    await send(message)
                    self._written_bytes += len(body)
                    return
                view = memoryview(body)
                for start in range(0, len(body), _PIECE_BYTES):
                    piece, end = view[start : start + _PIECE_BYTES], start + _PIECE_BYTES
                    more = end < len(body) or message.get("more_body", False)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
                    self._written_bytes += len(piece)

            await app(scope, receive, send_pieces)
            if cycle.response_started and not cycle.response_complete and not cycle.disconnected:
                # The application has logged why it ends early. The client sees that the connection closes too soon.
                cycle.disconnected = True
                self.transport.close()

        super()._start_asgi_task(cycle, run)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: any client can ask for an upgrade."""

    def _refuse_head(self) -> None:
        most = self._limits
        accepted = f"accepted are {most.head_bytes} bytes in {most.max_headers} headers"
        self._refuse(
            431, "too_large_head", f"the request's line and headers, or its trailers, are too large; {accepted}"
        )

    def _has_large_head(self) -> bool:
        if self._taken_bytes <= self._limits.head_bytes:
            return False  # whatever else came with it
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self._limits.head_bytes

    def _expire(self) -> None:
        if self._taken_bytes:
            self._refuse(408, "request_timeout", f"the request's head took longer than {self._limits.wait_secs:g} s")
        else:
            self.transport.close()

    def _is_slow(self, secs: float) -> bool:
        """Whether the body has been slow for the whole time over which its rate is measured."""
        cycle = self.cycle
        if self.flow.read_paused or cycle.body or cycle.waiting_for_100_continue:
            return False  # it is the server that takes its time
        self._starved_secs += secs
        if self._starved_secs < self._limits.slow_secs:
            return False
        enough = self._limits.slow_secs * self._limits.min_bytes_per_sec
        is_slow = self._starved_bytes < enough
        self._starved_secs, self._starved_bytes = 0.0, 0
        return is_slow

    def _is_stalled(self, now: float) -> bool:
        """Whether the client has taken nothing of what was written for too long."""
        held = self.transport.get_write_buffer_size()
        flushed = self._written_bytes - held
        if held == 0 or flushed > self._flushed_bytes or self._stalled_at is None:
            self._flushed_bytes = flushed
            self._stalled_at = now if held else None
            return False
        return now - self._stalled_at > self._limits.slow_secs

    def _hang_up(self) -> None:
        """Close the connection after the response to the last request that was parsed."""
        self._is_deaf = True
        if self.cycle is not None:
            self.cycle.keep_alive = False
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _reset(self) -> None:
        """Close the connection, and drop what the client has not taken; the kernel would keep it for minutes."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP)
        self.transport.abort()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer what arrives with a problem document, and close; or close alone if another answer is on its way."""
        if self._is_deaf:
            return
        cycle = self.cycle
        if self._in_head and cycle is not None and not cycle.response_complete:
            self._hang_up()
            return
        self._is_deaf = True
        self._shared.waiting.pop(self, None)
        if not self._in_head:
            if cycle.response_started or self.pipeline:
                self._reset()
                return
            cycle.disconnected, cycle.waiting_for_100_continue = True, False
            cycle.message_event.set()
        self.transport.write(refusal(status, code, detail))
        if len(self._shared.lingering) >= self._limits.max_lingering:
            self.transport.close()
            return
        self._shared.lingering.add(self)
        self._closes_at = self.loop.time() + self._limits.linger_secs
        self.transport.write_eof()
        self.flow.resume_reading()  # and drops it

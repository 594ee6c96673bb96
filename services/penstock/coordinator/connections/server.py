"""HTTP server: uvicorn with bounded connections."""

import asyncio
import socket
from functools import partial
from threading import Event
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from penstock.coordinator.connections.connection import Connection, Connections
from penstock.coordinator.connections.limits import ConnectionLimits

_SHUTDOWN_SECS = 5
_IDLE_SECS = 30
"""Longer than clients keep a connection that they don't use, so that none is closed under a request."""
_UNSENT_BYTES = 131_072
"""Kept by the kernel for a client that does not read; it would keep megabytes, outside of the process's memory."""
_TICKS_PER_SWEEP = 5
"""Of a tenth of a second each."""


class HttpServer(uvicorn.Server):
    """Serves an application over connections within limits.

    Sets an event on shutdown, so that event streams end; uvicorn would wait for them and then cut them off.
    """

    def __init__(self, app: ASGIApp, limits: ConnectionLimits, shutting_down: Event, **options: Any) -> None:
        self._connections = Connections(limits)
        self._shutting_down = shutting_down
        config = uvicorn.Config(
            app,
            http=partial(Connection, shared=self._connections),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_IDLE_SECS,
            timeout_graceful_shutdown=_SHUTDOWN_SECS,
            server_header=False,
            proxy_headers=False,  # each use of such a header says whom it trusts
            **{"lifespan": "on", **options},
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; accepted connections inherit how much the kernel keeps for them."""
        await super().startup(sockets)
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        for listener in (listener for server in self.servers for listener in server.sockets):
            if option is not None and listener.family != getattr(socket, "AF_UNIX", None):
                listener.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)

    async def on_tick(self, counter: int) -> bool:
        """End connections that hold the server for too long."""
        if counter % _TICKS_PER_SWEEP == 0:
            self._connections.sweep(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal and begin to shut down."""
        self._shutting_down.set()
        super().handle_exit(sig, frame)

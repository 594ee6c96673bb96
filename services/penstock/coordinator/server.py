"""The coordinator's HTTP server."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from threading import Event
from types import FrameType

import uvicorn

from penstock.common.logs import writes_json
from penstock.common.settings import LogSettings, load
from penstock.coordinator.api.app import create_app
from penstock.coordinator.api.services import Services

log = logging.getLogger(__name__)

_SHUTDOWN_SECS = 5
_SWITCH_SECS = 0.001
"""How soon a thread that computes lets another one go on: a request shares this process with the tracker."""


def answer(services: Services, listener: socket.socket) -> None:
    """Serve the REST API until SIGINT or SIGTERM, which let requests under way end."""
    sys.setswitchinterval(_SWITCH_SECS)
    app = create_app(services)
    gc.collect()
    gc.freeze()  # what is there to stay is not looked through again while requests wait
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    _announce(f"Penstock serves on http://{shown}:{port} (Ctrl-C ends it)")
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECS,
        server_header=False,
    )
    # After it has shut down, uvicorn raises the signal that told it to once more: it must not end the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _Server(config, services.leaving).run(sockets=[listener])
    except KeyboardInterrupt:
        log.info("interrupted; leaving")


class _Server(uvicorn.Server):
    """Tells streams that it ends: it would wait for them as long as it may, then cut them off with an error."""

    def __init__(self, config: uvicorn.Config, leaving: Event) -> None:
        super().__init__(config)
        self._leaving = leaving

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal."""
        self._leaving.set()
        super().handle_exit(sig, frame)


def _announce(line: str) -> None:
    """Tell where it serves: a person, whatever is logged; a machine, in its log."""
    if writes_json(load(LogSettings)):
        log.info("%s", line)
    else:
        sys.stderr.write(f"{line}\n")

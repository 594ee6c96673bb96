"""HTTP server: takes the port, and runs the REST API on uvicorn until a signal ends it."""

import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

import uvicorn

from penstock.common.logs import writes_json
from penstock.common.model.errors import StartupError
from penstock.common.settings import LogSettings, load
from penstock.coordinator.api.app import create_app
from penstock.coordinator.api.services import Services

log = logging.getLogger(__name__)

_SHUTDOWN_SECS = 5
_THREAD_SWITCH_SECS = 0.001
"""Python's default of 5 ms lets the tracker's thread delay requests."""


@contextmanager
def bind_port(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a TCP port; 0 takes a free one.

    Raises:
        StartupError: the port is in use or can't be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            message = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
            raise StartupError("port_in_use", message) from error
        yield listener


def run_server(services: Services, listener: socket.socket) -> None:
    """Serve the REST API until SIGINT or SIGTERM; requests in progress may finish."""
    sys.setswitchinterval(_THREAD_SWITCH_SECS)
    app = create_app(services)
    gc.collect()
    gc.freeze()  # objects that live as long as the process are not scanned again while requests wait
    host, port = listener.getsockname()[:2]
    _announce(f"Penstock serves on http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECS,
        server_header=False,
    )
    # After shutting down, uvicorn raises the signal again, which must not kill the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _Server(config, services.stopping).run(sockets=[listener])
    except KeyboardInterrupt:
        log.info("interrupted; shutting down")


class _Server(uvicorn.Server):
    """Sets an event on shutdown, so that event streams end; uvicorn would wait for them and then cut them off."""

    def __init__(self, config: uvicorn.Config, shutting_down: Event) -> None:
        super().__init__(config)
        self._shutting_down = shutting_down

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._shutting_down.set()
        super().handle_exit(sig, frame)


def _announce(line: str) -> None:
    """Write the server's address to stderr for people, or to the log if that is JSON."""
    if writes_json(load(LogSettings)):
        log.info("%s", line)
    else:
        sys.stderr.write(f"{line}\n")

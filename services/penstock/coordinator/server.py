"""HTTP server: takes the port, and runs the REST API on uvicorn until a signal ends it."""

import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from penstock import __version__
from penstock.common.logs import announce
from penstock.common.model.errors import StartupError
from penstock.coordinator.api.app import create_app
from penstock.coordinator.api.services import Services
from penstock.coordinator.connections.limits import ConnectionLimits
from penstock.coordinator.connections.server import HttpServer

log = logging.getLogger(__name__)

_THREAD_SWITCH_SECS = 0.001
"""Python's default of 5 ms lets the tracker's thread delay requests."""
_YOUNG_OBJECTS = 50_000
"""Objects after which Python's garbage collector runs; it would scan a batch of images or events many times at 700."""


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


def relieve_collector() -> None:
    """Make Python's garbage collector run less often, and skip what lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)


def run_server(services: Services, listener: socket.socket, limits: ConnectionLimits, details: str) -> None:
    """Serve the REST API until SIGINT or SIGTERM; requests in progress may finish.

    `details` is written beside the address: what is served, and with which store and broker.
    """
    sys.setswitchinterval(_THREAD_SWITCH_SECS)
    app = create_app(services)
    relieve_collector()
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    announce(f"Penstock {__version__} serves on {address} (Ctrl-C ends it): {details}")
    # After shutting down, uvicorn raises the signal again, which must not kill the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        HttpServer(app, limits, services.stopping).run(sockets=[listener])
    except KeyboardInterrupt:
        log.info("interrupted; shutting down")

"""What a coordinator takes for itself alone before it touches anything: its port, and its data folder."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.common.model.errors import RequestError


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port.

    Raises:
        RequestError: it is in use, or cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise RequestError(
                409, "port_in_use", f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
            ) from error
        yield listener
    finally:
        listener.close()


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Keep a second coordinator out of the data folder: it would undo what the first one has under way.

    Raises:
        RequestError: there is one, or the folder cannot be used.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = open(data / "lock", "w", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise RequestError(
            409, "data_unusable", f"cannot use {data}: {error.strerror}; choose another --data"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError(
                409, "data_in_use", f"{data} is in use by another Penstock; choose another --data"
            ) from error
        yield

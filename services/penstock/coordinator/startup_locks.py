"""Startup locks: a coordinator's port and data folder, taken before it changes anything."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.common.model.errors import StartupError


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


@contextmanager
def lock_data_folder(data: Path) -> Iterator[None]:
    """Lock the data folder, because two coordinators on one SQLite database would undo each other's work.

    Raises:
        StartupError: another process has locked the folder, or it can't be used.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = open(data / "lock", "w", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        message = f"cannot use {data}: {error.strerror}; choose another --data"
        raise StartupError("data_unusable", message) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"{data} is in use by another Penstock; choose another --data"
            raise StartupError("data_in_use", message) from error
        yield

"""ConnectionLimits: what one client may hold of the server, and how many connections there may be."""

import sys
from dataclasses import dataclass

from penstock.common.settings import SettingsError

_RESERVED_DESCRIPTORS = 64
"""For the database, the broker, the store, the log, and connections that are being refused."""
_MOST_DESCRIPTORS = 65_536
"""More are of no use here, and some programs that a process starts close every number that is allowed."""
_MOST_BY_DEFAULT = 1_024
_FEWEST = 8


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds on one connection, and on their number."""

    max_connections: int = _MOST_BY_DEFAULT
    head_bytes: int = 65_536
    """Of a request's line and headers, and of the trailers after its body."""
    max_headers: int = 200
    wait_secs: float = 30.0
    """For the rest of a head, and without a request."""
    slow_secs: float = 60.0
    """Over which the rate of a body is measured, and after which a response that nobody reads ends."""
    min_bytes_per_sec: int = 1_024
    """Of a body, while the server waits for it."""
    linger_secs: float = 2.0
    """For a client that still sends to read why it was refused; a connection closed at once would be reset."""
    max_lingering: int = _RESERVED_DESCRIPTORS // 4
    max_pipelined: int = 32


def limit_connections(wanted: int | None) -> ConnectionLimits:
    """Raise the number of descriptors that this process may have, and return the limits that fit it.

    Without a number of connections, it is half of the descriptors, since a request may open a file, but at most 1024.

    Raises:
        SettingsError: there are not enough descriptors for the number of connections.
    """
    descriptors = _raise_descriptors()
    if wanted is None:
        return ConnectionLimits(max(_FEWEST, min(_MOST_BY_DEFAULT, (descriptors - _RESERVED_DESCRIPTORS) // 2)))
    if wanted > (most := max(_FEWEST, descriptors - _RESERVED_DESCRIPTORS)):
        raise SettingsError(
            "invalid_settings",
            f"PENSTOCK_MAX_CONNECTIONS={wanted}: this process may open {descriptors} files (ulimit -n);"
            f" accepted are up to {most}",
        )
    return ConnectionLimits(wanted)


def _raise_descriptors() -> int:
    """Raise the soft limit on open files to the hard one; return it."""
    if sys.platform == "win32":  # has no such limit on sockets
        return _MOST_DESCRIPTORS
    import resource

    soft, hard = (_finite(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(soft, hard)


def _finite(descriptors: int) -> int:
    return _MOST_DESCRIPTORS if descriptors < 0 else min(descriptors, _MOST_DESCRIPTORS)

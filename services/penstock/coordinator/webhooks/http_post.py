"""One POST to a webhook's receiver: its name looked up once, the connection pinned to what was checked, all timed.

By hand over a socket: HTTP clients look names up by themselves, follow redirects and take proxies from the environment.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import cast

from penstock import __version__
from penstock.coordinator.webhooks.ssrf import Address, DestinationError, Destinations, Receiver, read_literal

_MAX_ADDRESSES = 4
_MAX_ANSWER_BYTES = 64 * 1024

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host and port; raises OSError where it has none."""


class SendError(Exception):
    """Nothing was sent, or no answer came; the message is for whoever sent the job."""


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for a name's addresses, which gives up by itself (resolv.conf).

    Raises:
        OSError: there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class PinnedPoster:
    """Sends to what `destinations` accepts. `secs` bounds a whole POST, `connect_secs` one attempt to connect in it."""

    destinations: Destinations
    trust: ssl.SSLContext
    connect_secs: float
    secs: float
    resolve: Resolve = resolve

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send a body; return the status of the answer, whatever it is. Redirects are not followed.

        Raises:
            SendError: nothing was sent, or no answer came.
        """
        try:
            return self._post(url, headers, body)
        except DestinationError as error:
            raise SendError(str(error)) from error
        except TimeoutError as error:
            raise SendError("no answer in time") from error
        except ssl.SSLCertVerificationError as error:
            raise SendError(f"its certificate is not accepted: {error.verify_message}") from error
        except (OSError, UnicodeError) as error:
            raise SendError(f"not reached: {getattr(error, 'strerror', None) or type(error).__name__}") from error
        except HTTPException as error:
            raise SendError("its answer is not HTTP") from error

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        ends_at = time.monotonic() + self.secs
        receiver = self.destinations.read(url)
        addresses = self._find_addresses(receiver)
        with closing(self._connect(receiver, addresses, ends_at)) as connection:
            connection.settimeout(_left(ends_at))
            connection.sendall(_write_request(receiver, headers, body))
            return _read_status(connection, ends_at)

    def _find_addresses(self, receiver: Receiver) -> list[Address]:
        """Return the addresses to connect to; all that there are have been checked."""
        literal = read_literal(receiver.host)
        if literal is not None:
            return [literal]
        addresses = [ip_address(text) for text in self.resolve(receiver.host, receiver.port)]
        self.destinations.check(receiver, addresses)
        return addresses[:_MAX_ADDRESSES]

    def _connect(self, receiver: Receiver, addresses: Sequence[Address], ends_at: float) -> socket.socket:
        trouble: OSError = OSError("it has no address")
        for address in addresses:
            secs = min(self.connect_secs, _left(ends_at))
            try:
                connection = socket.create_connection((str(address), receiver.port), secs)
            except OSError as error:
                trouble = error
                continue
            return connection if receiver.scheme == "http" else self._secure(connection, receiver)
        raise trouble

    def _secure(self, connection: socket.socket, receiver: Receiver) -> socket.socket:
        """Shake hands within the time for connecting; the certificate has to be the name's, not the address's."""
        try:
            return self.trust.wrap_socket(connection, server_hostname=receiver.host)
        except BaseException:
            connection.close()
            raise


def make_trust(authorities: str | None) -> ssl.SSLContext:
    """Return what checks receivers' certificates: against the system's authorities, and those of a file.

    Raises:
        OSError: the file is not there, or no certificates are in it.
    """
    context = ssl.create_default_context()
    if authorities is not None:
        context.load_verify_locations(cafile=authorities)
    return context


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _write_request(receiver: Receiver, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = {
        "Host": receiver.authority,
        "User-Agent": f"penstock/{__version__}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {receiver.target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _read_status(connection: socket.socket, ends_at: float) -> int:
    """Return an answer's status. Its body is read, so that the receiver can end as it likes to, and dropped."""
    # HTTPResponse only asks a socket for a file to read from.
    with closing(HTTPResponse(cast(socket.socket, _Timed(connection, ends_at)), method="POST")) as answer:
        answer.begin()
        # At most so much, as a read of all makes room for whatever length the answer claims; a chunk's may be negative.
        with suppress(OSError, HTTPException, ValueError):
            answer.read(_MAX_ANSWER_BYTES)
        return answer.status


class _Timed(io.RawIOBase):
    """A connection to read from until a moment, and no more than `_MAX_ANSWER_BYTES`: a slow drip ends as well."""

    def __init__(self, connection: socket.socket, ends_at: float) -> None:
        self._connection = connection
        self._ends_at = ends_at
        self._room = _MAX_ANSWER_BYTES

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return it as what a socket's method of this name returns."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._room:
            return 0
        self._connection.settimeout(_left(self._ends_at))
        count = self._connection.recv_into(buffer[: self._room])
        self._room -= count
        return count

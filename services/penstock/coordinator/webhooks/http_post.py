"""HTTP POST to a webhook's receiver: one DNS lookup, a connection pinned to a checked address, one overall deadline.

It is written over a socket because HTTP clients resolve names themselves, follow redirects and read proxies from the
environment.
"""

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
from penstock.coordinator.webhooks.ssrf import Address, DestinationError, DestinationPolicy, Receiver, parse_address

_MAX_ADDRESSES = 4
_MAX_RESPONSE_BYTES = 64 * 1024

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host and port; raises OSError if there are none."""


class PostError(Exception):
    """Nothing was sent, or no response came. The message is shown to the job's owner."""


def resolve(host: str, port: int) -> list[str]:
    """Return a name's addresses from the system's resolver, which has timeouts of its own (resolv.conf)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class HttpPoster:
    """Sends to what `destinations` accepts. `timeout_secs` limits a whole POST, `connect_secs` each connect in it."""

    destinations: DestinationPolicy
    tls: ssl.SSLContext
    connect_secs: float
    timeout_secs: float
    resolve: Resolve = resolve

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send a body and return the status of the response, whatever it is. Redirects are not followed.

        Raises:
            PostError: nothing was sent, or no response came.
        """
        try:
            return self._post(url, headers, body)
        except DestinationError as error:
            raise PostError(str(error)) from error
        except TimeoutError as error:
            raise PostError("timed out") from error
        except ssl.SSLCertVerificationError as error:
            raise PostError(f"certificate not accepted: {error.verify_message}") from error
        except (OSError, UnicodeError) as error:
            raise PostError(f"cannot connect: {getattr(error, 'strerror', None) or type(error).__name__}") from error
        except HTTPException as error:
            raise PostError("the response is not HTTP") from error

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        deadline = time.monotonic() + self.timeout_secs
        receiver = self.destinations.parse_url(url)
        addresses = self._resolve(receiver)
        with closing(self._connect(receiver, addresses, deadline)) as connection:
            connection.settimeout(_remaining(deadline))
            connection.sendall(_encode_request(receiver, headers, body))
            return _read_status(connection, deadline)

    def _resolve(self, receiver: Receiver) -> list[Address]:
        """Return the addresses to try. All addresses of the name have been checked."""
        literal = parse_address(receiver.host)
        if literal is not None:
            return [literal]
        addresses = [ip_address(text) for text in self.resolve(receiver.host, receiver.port)]
        self.destinations.check_addresses(receiver, addresses)
        return addresses[:_MAX_ADDRESSES]

    def _connect(self, receiver: Receiver, addresses: Sequence[Address], deadline: float) -> socket.socket:
        last_error = OSError("the name has no address")
        for address in addresses:
            secs = min(self.connect_secs, _remaining(deadline))
            try:
                connection = socket.create_connection((str(address), receiver.port), secs)
            except OSError as error:
                last_error = error
                continue
            return connection if receiver.scheme == "http" else self._start_tls(connection, receiver)
        raise last_error

    def _start_tls(self, connection: socket.socket, receiver: Receiver) -> socket.socket:
        """Do the TLS handshake within the connect timeout. The certificate must match the name, not the address."""
        try:
            return self.tls.wrap_socket(connection, server_hostname=receiver.host)
        except BaseException:
            connection.close()
            raise


def _remaining(deadline: float) -> float:
    secs = deadline - time.monotonic()
    if secs <= 0:
        raise TimeoutError
    return secs


def _encode_request(receiver: Receiver, headers: Mapping[str, str], body: bytes) -> bytes:
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


def _read_status(connection: socket.socket, deadline: float) -> int:
    """Return the response's status. The body is read, so that the receiver sees no reset, and dropped."""
    # All that HTTPResponse asks of a socket is `makefile`.
    with closing(HTTPResponse(cast(socket.socket, _BoundedReader(connection, deadline)), method="POST")) as response:
        response.begin()
        # A read without a limit would allocate whatever length the response claims; a chunk's may even be negative.
        with suppress(OSError, HTTPException, ValueError):
            response.read(_MAX_RESPONSE_BYTES)
        return response.status


class _BoundedReader(io.RawIOBase):
    """A connection that can be read until a deadline, and up to `_MAX_RESPONSE_BYTES`: slow senders are cut off too."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._remaining_bytes = _MAX_RESPONSE_BYTES

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a buffered file, as `socket.makefile` does."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._remaining_bytes:
            return 0
        self._connection.settimeout(_remaining(self._deadline))
        count = self._connection.recv_into(buffer[: self._remaining_bytes])
        self._remaining_bytes -= count
        return count

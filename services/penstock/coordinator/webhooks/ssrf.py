"""Where webhooks may be sent: which URLs are accepted, and which addresses their names may lead to.

A URL comes from whoever may send a job, and the coordinator stands where that person does not: beside databases, on a
network of its own, at a cloud's metadata service. So nothing is connected to but what the whole Internet can reach, and
what the operator allows by name.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

MAX_URL_CHARS = 2_048
_DEFAULT_PORTS = {"https": 443, "http": 80}
_FIRST_FREE_PORT = 1_024
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_FOR_EVERYONE: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's own services, at an address that looks like anybody's
        "192.0.0.0/24",  # protocol assignments, Oracle's metadata service among them
        "192.88.99.0/24",  # 6to4 relays
        "2001::/32",  # Teredo, and below 6to4: IPv4 addresses in disguise
        "2002::/16",
        "3fff::/20",  # documentation
    )
)


class DestinationError(Exception):
    """A webhook may not be sent there; the message says why, and what is accepted."""


@dataclass(frozen=True)
class Receiver:
    """A URL in its parts. `host` is a name in small letters or an address without brackets."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, as they are sent."""

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The URL without its path and query, which may hold what only the receiver is to know."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True)
class Exemption:
    """One entry of PENSTOCK_WEBHOOK_ALLOW: a host, perhaps on one port, or addresses; perhaps without TLS."""

    plain: bool
    host: str | None = None
    port: int | None = None
    network: Network | None = None

    @classmethod
    def read(cls, text: str) -> Exemption:
        """Read `[http://]HOST[:PORT]` or `[http://]CIDR`.

        Raises:
            DestinationError: it is neither.
        """
        plain, rest = text.startswith("http://"), text.removeprefix("http://")
        with suppress(ValueError):
            return cls(plain, network=ip_network(rest))
        with suppress(ValueError, DestinationError):
            parts = urlsplit(f"//{rest}")
            if (parts.path, parts.query, parts.fragment) == ("", "", ""):
                return cls(plain, _host(parts), parts.port)
        raise DestinationError(f"{text[:60]!a} is neither a host, such as hooks.lan:8443, nor a range, as 10.1.0.0/16")

    def names(self, receiver: Receiver) -> bool:
        """Say whether it is this receiver's host that is allowed."""
        return self.host == receiver.host and self.port in (None, receiver.port)

    def covers(self, receiver: Receiver, address: Address) -> bool:
        """Say whether it allows to send to the receiver at one of its addresses."""
        if receiver.scheme == "http" and not self.plain:
            return False
        return self.names(receiver) if self.network is None else address in self.network


class Destinations:
    """What may be sent to: `https` at public addresses, and what `allow` (see `Exemption.read`) adds."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """Read the exemptions.

        Raises:
            DestinationError: one is neither a host nor a range of addresses.
        """
        self._exemptions = [Exemption.read(text) for text in allow]

    def read(self, url: str) -> Receiver:
        """Take a URL apart and check all that can be told without asking for its name's addresses.

        Raises:
            DestinationError: nothing is sent there.
        """
        if len(url) > MAX_URL_CHARS or not re.fullmatch(r"[!-~]+", url):
            raise DestinationError(f"accepted are URLs of up to {MAX_URL_CHARS} printable ASCII characters")
        receiver = _read_url(url)
        self._check_scheme(receiver)
        self._check_port(receiver)
        literal = read_literal(receiver.host)
        if literal is not None:
            self.check(receiver, [literal])
        return receiver

    def check(self, receiver: Receiver, addresses: Sequence[Address]) -> None:
        """Make sure that each of a receiver's addresses may be connected to.

        Raises:
            DestinationError: one may not, so none is.
        """
        for address in addresses:
            self._check_address(receiver, unwrap(address))

    def _check_scheme(self, receiver: Receiver) -> None:
        if receiver.scheme == "https":
            return
        plain = [exemption for exemption in self._exemptions if exemption.plain]
        if not any(exemption.network is not None or exemption.names(receiver) for exemption in plain):
            raise DestinationError(f"{receiver.origin}: accepted is https")

    def _check_port(self, receiver: Receiver) -> None:
        if receiver.port == _DEFAULT_PORTS[receiver.scheme] or receiver.port >= _FIRST_FREE_PORT:
            return
        if not any(exemption.port is not None and exemption.names(receiver) for exemption in self._exemptions):
            usual = _DEFAULT_PORTS[receiver.scheme]
            raise DestinationError(f"port {receiver.port}: accepted are {usual}, and {_FIRST_FREE_PORT} and above")

    def _check_address(self, receiver: Receiver, address: Address) -> None:
        if receiver.scheme == "https" and is_public(address):
            return
        if any(exemption.covers(receiver, address) for exemption in self._exemptions):
            return
        # Which address it is stays unsaid: whoever sends jobs need not learn what this network's names lead to.
        why = "accepted is https" if is_public(address) else "accepted are public addresses"
        raise DestinationError(f"{receiver.host}: {why}, and what PENSTOCK_WEBHOOK_ALLOW names")


def is_public(address: Address) -> bool:
    """Say whether the whole Internet can reach an address, and nothing special answers there."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    special = any(address in network for network in _NOT_FOR_EVERYONE)
    return address.is_global and not address.is_multicast and not special


def unwrap(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does: mapped, or translated by NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def read_literal(host: str) -> Address | None:
    """Return the address that a host is, in any way of writing one that a resolver takes (`127.1`, `0x7f000001`)."""
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    with suppress(ValueError):
        return ip_address(host)
    with suppress(OSError):
        return IPv4Address(socket.inet_aton(host))
    return None


def _read_url(url: str) -> Receiver:
    try:
        parts = urlsplit(url)
        host, port = _host(parts), parts.port
    except ValueError as error:
        raise DestinationError(f"not a URL: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise DestinationError(f"{parts.scheme[:20]!a} is no scheme for it; accepted is https")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Receiver(parts.scheme, host, _DEFAULT_PORTS[parts.scheme] if port is None else port, target)


def _host(parts: SplitResult) -> str:
    if "@" in parts.netloc:
        raise DestinationError("a user or password in a URL is not accepted")
    host = (parts.hostname or "").removesuffix(".")
    if not _NAME.fullmatch(host) and not (":" in host and "%" not in host and read_literal(host)):
        raise DestinationError(f"{host[:60]!a} is no host; accepted are names (internationalised ones as xn--…)")
    return host

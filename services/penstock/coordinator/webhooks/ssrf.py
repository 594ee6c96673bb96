"""SSRF protection: which webhook URLs are accepted, and which addresses their names may resolve to.

URLs come from anyone who may submit jobs, and the coordinator can reach what they cannot: databases, internal networks,
the cloud's metadata service. So it connects only to public addresses and to what the operator allows.
"""

import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import SplitResult, urlsplit

MAX_URL_CHARS = 2_048
_DEFAULT_PORTS = {"https": 443, "http": 80}
_FIRST_UNPRIVILEGED_PORT = 1_024
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's platform services, at an address that looks public
        "192.0.0.0/24",  # protocol assignments, Oracle's metadata service among them
        "192.88.99.0/24",  # 6to4 relays
        "2001::/32",  # Teredo, and 6to4 below: they embed IPv4 addresses
        "2002::/16",
        "3fff::/20",  # documentation
    )
)


class DestinationError(Exception):
    """The destination is not allowed. The message says why, and what is accepted."""


@dataclass(frozen=True)
class Receiver:
    """A parsed URL. `host` is a lower-case name, or an address without brackets."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """Host and port as in the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The URL without path and query, in which receivers may keep tokens."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True)
class Exemption:
    """One entry of PENSTOCK_WEBHOOK_ALLOW: a host, optionally with a port, or a range; optionally without TLS."""

    allows_http: bool
    host: str | None = None
    port: int | None = None
    network: Network | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `[http://]HOST[:PORT]` or `[http://]CIDR`.

        Raises:
            DestinationError: the text is neither.
        """
        allows_http, rest = text.startswith("http://"), text.removeprefix("http://")
        with suppress(ValueError):
            return cls(allows_http, network=ip_network(rest))
        with suppress(ValueError, DestinationError):
            parts = urlsplit(f"//{rest}")
            if (parts.path, parts.query, parts.fragment) == ("", "", ""):
                return cls(allows_http, _parse_host(parts), parts.port)
        raise DestinationError(
            f"{text[:60]!a} is neither a host, such as hooks.lan:8443, nor a range, such as 10.1.0.0/16"
        )

    def matches_host(self, receiver: Receiver) -> bool:
        """Whether this entry names the receiver's host."""
        return self.host == receiver.host and self.port in (None, receiver.port)

    def covers(self, receiver: Receiver, address: Address) -> bool:
        """Whether this entry allows the receiver at this address."""
        if receiver.scheme == "http" and not self.allows_http:
            return False
        return self.matches_host(receiver) if self.network is None else address in self.network


class DestinationPolicy:
    """What is allowed: `https` at public addresses, and the entries of `allow` (see `Exemption.parse`)."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """Parse the exemptions.

        Raises:
            DestinationError: one of them is neither a host nor a range of addresses.
        """
        self._exemptions = [Exemption.parse(text) for text in allow]

    def parse_url(self, url: str) -> Receiver:
        """Parse a URL, and check all that can be checked without resolving its name.

        Raises:
            DestinationError: the URL is not allowed.
        """
        if len(url) > MAX_URL_CHARS or not re.fullmatch(r"[!-~]+", url):
            raise DestinationError(f"a URL has up to {MAX_URL_CHARS} printable ASCII characters")
        receiver = _parse_url(url)
        self._check_scheme(receiver)
        self._check_port(receiver)
        address = parse_address(receiver.host)
        if address is not None:
            self.check_addresses(receiver, [address])
        return receiver

    def check_addresses(self, receiver: Receiver, addresses: Sequence[Address]) -> None:
        """Check all addresses that a receiver's name resolves to.

        Raises:
            DestinationError: one of them is not allowed.
        """
        for address in addresses:
            self._check_address(receiver, unwrap(address))

    def _check_scheme(self, receiver: Receiver) -> None:
        if receiver.scheme == "https":
            return
        entries = [exemption for exemption in self._exemptions if exemption.allows_http]
        if not any(entry.network is not None or entry.matches_host(receiver) for entry in entries):
            raise DestinationError(f"{receiver.origin}: only https is accepted")

    def _check_port(self, receiver: Receiver) -> None:
        default = _DEFAULT_PORTS[receiver.scheme]
        if receiver.port == default or receiver.port >= _FIRST_UNPRIVILEGED_PORT:
            return
        if not any(exemption.port is not None and exemption.matches_host(receiver) for exemption in self._exemptions):
            raise DestinationError(
                f"port {receiver.port}: accepted are {default}, and {_FIRST_UNPRIVILEGED_PORT} and above"
            )

    def _check_address(self, receiver: Receiver, address: Address) -> None:
        if receiver.scheme == "https" and is_public(address):
            return
        if any(exemption.covers(receiver, address) for exemption in self._exemptions):
            return
        # The address is left out, or clients could look up names of this network.
        accepted = "https" if is_public(address) else "public addresses"
        raise DestinationError(f"{receiver.host}: accepted are {accepted} and what PENSTOCK_WEBHOOK_ALLOW names")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public Internet and to no special service."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def unwrap(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 address (mapped, or NAT64), or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def parse_address(host: str) -> Address | None:
    """Return the address if a host is one in any notation that resolvers accept (`127.1`, `0x7f000001`), else None."""
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    with suppress(ValueError):
        return ip_address(host)
    with suppress(OSError):
        return IPv4Address(socket.inet_aton(host))
    return None


def _parse_url(url: str) -> Receiver:
    try:
        parts = urlsplit(url)
        if "://" not in url:
            raise DestinationError(f"{url[:60]!a} is not a URL such as https://example.org/done")
        host, port = _parse_host(parts), parts.port
    except ValueError as error:
        raise DestinationError(f"not a URL: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise DestinationError(f"{parts.scheme[:20]!a} is not an accepted scheme; use https")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Receiver(parts.scheme, host, _DEFAULT_PORTS[parts.scheme] if port is None else port, target)


def _parse_host(parts: SplitResult) -> str:
    if "@" in parts.netloc:
        raise DestinationError("a URL with user or password is not accepted")
    host = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc and ":" not in host:  # [v1.x], the notation of addresses to come
        raise DestinationError(f"[{host[:60]}] is not an IPv6 address")
    if not _NAME.fullmatch(host) and not (":" in host and "%" not in host and parse_address(host)):
        raise DestinationError(f"{host[:60]!a} is not a host name (write internationalised ones as xn--…)")
    return host

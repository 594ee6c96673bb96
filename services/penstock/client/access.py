"""Which server a client speaks to, and with which key: as told, or as the environment has it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from penstock import __version__
from penstock.client.errors import LocalFileError
from penstock.client.exchange import PATIENCE_SECS, TIMEOUT_SECS
from penstock.common.settings import ClientSettings, SettingsError, load
from penstock.common.tls import make_ssl_context

H = TypeVar("H", httpx.Client, httpx.AsyncClient)

CONNECTIONS = 4
"""Files that are sent or fetched at the same time."""


@dataclass(frozen=True)
class Access:
    """How to reach a server.

    Args:
        server: its URL.
        api_key: sent as `Authorization: Bearer …`.
        verify: True for the certificates that this host trusts, a file of others, or False for any (never for a key).
        timeout_secs: for a connection, and for each piece of an answer.
        patience_secs: how long a call is tried again while the server is away or full.
    """

    server: str
    api_key: str | None
    verify: bool | Path
    timeout_secs: float
    patience_secs: float

    @classmethod
    def of(
        cls,
        server: str | None = None,
        api_key: str | None = None,
        verify: bool | str | Path | None = None,
        timeout_secs: float = TIMEOUT_SECS,
        patience_secs: float | None = None,
    ) -> Access:
        """Return what was given, and `PENSTOCK_SERVER` and its likes for what was not.

        Raises:
            SettingsError: no URL of a server, or a key that cannot be sent.
        """
        settings = load(ClientSettings)
        return cls(
            server=_read_server(server or settings.server),
            api_key=_read_key(api_key or settings.api_key),
            verify=_verification(verify if verify is not None else settings.tls_ca),
            timeout_secs=timeout_secs,
            patience_secs=PATIENCE_SECS if patience_secs is None else patience_secs,
        )

    def open(self, kind: type[H]) -> H:
        """Return a client of httpx's that reaches the server.

        Raises:
            LocalFileError: the file of certificates holds none.
            SettingsError: the environment names a proxy that cannot be used.
        """
        try:
            return kind(**self.options())
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise SettingsError("invalid_proxy", f"invalid proxy in the environment: {error}") from error

    def options(self) -> dict[str, Any]:
        """Return what httpx's clients are made with."""
        headers = {"User-Agent": f"penstock/{__version__}", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {
            "base_url": self.server,
            "headers": headers,
            "verify": self._trust(),
            "timeout": self.timeout_secs,
            "trust_env": not self._is_here(),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS * 2),
        }

    def _is_here(self) -> bool:
        """Whether the server is this host, which a proxy would take for itself."""
        host = urlsplit(self.server).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False

    def _trust(self) -> bool | ssl.SSLContext:
        if self.server.startswith("http:"):
            return False  # loading every certificate of the host takes longer than most calls
        if self.verify is False:
            return False
        if self.verify is True:
            return ssl.create_default_context()  # the host's; httpx's own would be a list that it brings along
        try:
            return make_ssl_context(self.verify)
        except OSError as error:  # SSLError is one
            raise LocalFileError(f"no certificates in {self.verify}: {error.strerror or error}") from error


def _read_server(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.userinfo:  # would be shown in errors, and sent instead of the key
        raise SettingsError("invalid_server", "the server's URL contains a user; accepted is http[s]://host[:port]")
    is_port = parts.port is None or 0 < parts.port < 65_536
    if parts.scheme not in ("http", "https") or not parts.host or not is_port or parts.query or parts.fragment:
        raise SettingsError(
            "invalid_server", f"{url[:80]!a} is not the URL of a server; accepted is http[s]://host[:port]"
        )
    return url.rstrip("/")


def _read_key(key: str | None) -> str | None:
    key = (key or "").strip()  # files of secrets end in a new line
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(
            "invalid_api_key", "the API key has characters that no key has; accepted is printable ASCII"
        )
    return key or None


def _verification(given: bool | str | Path | None) -> bool | Path:
    return Path(given) if isinstance(given, str | Path) else given is None or given

"""Client configuration: the server's URL, the API key, certificates and timeouts, from arguments or the environment."""

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
from penstock.common.settings import ClientSettings, SettingsError, load
from penstock.common.tls import make_ssl_context

C = TypeVar("C", httpx.Client, httpx.AsyncClient)

CONCURRENT_FILES = 4
"""Files that are uploaded or downloaded at the same time."""
PATIENCE_SECS = 60.0
TIMEOUT_SECS = 60.0


@dataclass(frozen=True)
class ClientConfig:
    """How to reach a server.

    Args:
        server: its URL.
        api_key: sent as `Authorization: Bearer …`.
        verify: True to trust this host's certificates, a file of certificates to trust, or False to trust any.
        timeout_secs: limit for connecting, and for each read and write.
        patience_secs: how long a request is retried while the server is unreachable or overloaded.
    """

    server: str
    api_key: str | None
    verify: bool | Path
    timeout_secs: float
    patience_secs: float

    @classmethod
    def load(
        cls,
        server: str | None = None,
        api_key: str | None = None,
        verify: bool | str | Path | None = None,
        timeout_secs: float = TIMEOUT_SECS,
        patience_secs: float = PATIENCE_SECS,
    ) -> ClientConfig:
        """Return the arguments, with settings from the environment for those that are None.

        Raises:
            SettingsError: an invalid URL, or an API key that cannot be sent.
        """
        settings = load(ClientSettings)
        if verify is None:
            verify = settings.tls_ca or True
        return cls(
            server=_check_url(server or settings.server),
            api_key=_check_key(api_key or settings.api_key or ""),
            verify=verify if isinstance(verify, bool) else Path(verify),
            timeout_secs=timeout_secs,
            patience_secs=patience_secs,
        )

    def make_client(self, client: type[C]) -> C:
        """Return an httpx client for the server.

        Raises:
            LocalFileError: the file of certificates contains none.
            SettingsError: the environment names an invalid proxy.
        """
        try:
            return client(**self.httpx_options())
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise SettingsError("invalid_proxy", f"invalid proxy in the environment: {error}") from error

    def httpx_options(self) -> dict[str, Any]:
        """Return the arguments of httpx's clients."""
        headers = {"User-Agent": f"penstock/{__version__}", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {
            "base_url": self.server,
            "headers": headers,
            "verify": self._ssl_verification(),
            "timeout": self.timeout_secs,
            "trust_env": not self._is_local(),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=CONCURRENT_FILES * 2),
        }

    def _is_local(self) -> bool:
        """Whether the server is on this host, which must not be reached through a proxy."""
        host = urlsplit(self.server).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False

    def _ssl_verification(self) -> bool | ssl.SSLContext:
        if self.server.startswith("http:") or self.verify is False:
            return False  # for http as well: loading the host's certificates takes longer than most requests
        if self.verify is True:
            return ssl.create_default_context()  # the host's certificates instead of the list that httpx comes with
        try:
            return make_ssl_context(self.verify)
        except OSError as error:  # SSLError is one
            raise LocalFileError(f"no certificates in {self.verify}: {error.strerror or error}") from error


def _check_url(url: str) -> str:
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


def _check_key(key: str) -> str | None:
    key = key.strip()  # files of secrets end in a newline
    if not (key.isascii() and key.isprintable()):
        raise SettingsError("invalid_api_key", "the API key has invalid characters; accepted is printable ASCII")
    return key or None

"""Configuration of both clients: the URL, API key, certificates and timeouts, from arguments or the environment."""

import socket
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx

from penstock import __version__
from penstock.client.errors import LocalFileError, UnavailableError
from penstock.client.local_files import CONCURRENT_FILES
from penstock.client.request import Request
from penstock.client.retries import Retries
from penstock.common.settings import ClientSettings, SettingsError, load
from penstock.common.tls import make_ssl_context

C = TypeVar("C", httpx.Client, httpx.AsyncClient)

PATIENCE_SECS = 60.0
TIMEOUT_SECS = 60.0


class ConfiguredClient(Generic[C]):
    """What both clients share: the connection to a server, as arguments and the environment describe it.

    Raises:
        SettingsError: an invalid URL, an API key that cannot be sent, or an invalid proxy in the environment.
        LocalFileError: the file of certificates contains none.
    """

    _http_class: type[C]

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        verify: bool | str | Path | None = None,
        timeout_secs: float = TIMEOUT_SECS,
        patience_secs: float = PATIENCE_SECS,
    ) -> None:
        settings = load(ClientSettings)
        self.server = _check_url(server or settings.server)
        self._base = httpx.URL(self.server).path.rstrip("/")
        self._patience_secs = patience_secs
        self._warned: set[str] = set()
        headers = {"User-Agent": f"penstock/{__version__}", "Accept": "application/json"}
        verification = _ssl_verification(self.server, (settings.tls_ca or True) if verify is None else verify)
        try:
            self._http: C = self._http_class(
                base_url=self.server,
                headers=headers | authorization(api_key or settings.api_key or ""),
                verify=verification,
                timeout=timeout_secs,
                trust_env=not _is_local(self.server),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=CONCURRENT_FILES * 2),
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise SettingsError("invalid_proxy", f"invalid proxy in the environment: {error}") from error

    def _retries(self, request: Request[Any], patience_secs: float | None = None) -> Retries:
        patience_secs = self._patience_secs if patience_secs is None else patience_secs
        return Retries(request, self.server, patience_secs, self._warned)


def authorization(api_key: str) -> dict[str, str]:
    """Return the header for an API key, or none if it is empty.

    Raises:
        SettingsError: it cannot be sent.
    """
    key = api_key.strip()  # files of secrets end in a newline
    if not (key.isascii() and key.isprintable()):
        raise SettingsError("invalid_api_key", "the API key has invalid characters; accepted is printable ASCII")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _is_local(server: str) -> bool:
    """Whether the server is on this host, which must not be reached through a proxy."""
    host = urlsplit(server).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _ssl_verification(server: str, verify: bool | str | Path) -> bool | ssl.SSLContext:
    if server.startswith("http:") or verify is False:
        return False  # for http as well: loading the host's certificates takes longer than most requests
    if verify is True:
        return ssl.create_default_context()  # the host's certificates instead of the list that httpx comes with
    try:
        return make_ssl_context(Path(verify))
    except OSError as error:  # SSLError is one
        raise LocalFileError(f"no certificates in {verify}: {error.strerror or error}") from error


def _check_url(url: str) -> str:
    url = url if "://" in url else f"http://{url}"
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.userinfo:  # would be shown in errors, and sent instead of the key
        raise SettingsError("invalid_server", "the server's URL contains a user; accepted is http[s]://host[:port]")
    is_port = parts.port is None or 0 < parts.port < 65_536
    if parts.scheme not in ("http", "https") or not parts.host or not is_port or parts.query or parts.fragment:
        raise SettingsError(
            "invalid_server", f"{url[:80]!a} is not the URL of a server; accepted is [http[s]://]host[:port]"
        )
    return url.rstrip("/")


def check_listening(server: str) -> None:
    """Check that something listens where the server is said to be, if that is this host.

    Raises:
        UnavailableError: the connection is refused.
    """
    url = httpx.URL(server)
    if not _is_local(server):
        return
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.host, port), timeout=TIMEOUT_SECS).close()
    except ConnectionRefusedError as error:
        raise UnavailableError(f"nothing listens on {server}; is `penstock serve` running?") from error
    except OSError:
        return  # the first request will tell

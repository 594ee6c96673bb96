"""Store factory: opens the store of a URL, which is a folder of this host, a bucket, or a WebDAV server.

Buckets are accessed through obstore, which is imported only when one is opened. It has threads of its own, so processes
that use a bucket are spawned, or open it after the fork. It reads credentials, region and endpoint itself, from the
variables of the clouds' own tools (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_REGION`,
`GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, …) or from the machine's identity.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import Store
from penstock.common.store.local import LocalStore

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

SCHEMES = (
    "file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, http://host:port/prefix, memory://"
)

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<place>[^/]*)/?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WEB = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<folder>(/[A-Za-z0-9._~-]+)*)/?",
    re.IGNORECASE,
)
_DOTS = re.compile(r"/\.{1,2}(/|$)")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_FIRST_PAUSE_SECS = 0.1
_CONNECT_SECS = 5.0


def open_store(settings: StoreSettings, data: Path | None) -> Store:
    """Open the store of the settings; without a URL, the folder `store` in `data`.

    No request is sent yet (see `Store.check`). A missing folder is created. Each `memory://` is a new, empty store.

    Raises:
        SettingsError: the URL or the cloud's variables cannot be used, or there is neither a URL nor `data`.
        UnavailableError: the folder cannot be created.
    """
    url = settings.store_url
    if url is None:
        if data is None:
            raise SettingsError("invalid_settings", f"PENSTOCK_STORE_URL is not set; accepted is one of {SCHEMES}")
        return LocalStore(data / "store", reserve_bytes=settings.reserve_bytes, fsync=settings.fsync)
    if url.lower().startswith("file:"):
        return LocalStore(_folder(url), reserve_bytes=settings.reserve_bytes, fsync=settings.fsync)
    if re.match("https?:", url, re.IGNORECASE):
        return _open_webdav(url, settings)
    bucket = open_bucket(url, settings)
    from penstock.common.store.bucket import BucketStore

    return BucketStore(bucket)


def store_folder(settings: StoreSettings, data: Path | None = None) -> Path | None:
    """Return the folder of this host that the store of the settings is; None if it is no folder."""
    url = settings.store_url
    if url is None:
        return None if data is None else data / "store"
    return _folder(url) if url.lower().startswith("file:") else None


def _folder(url: str) -> Path:
    parts = _URL.fullmatch(url)
    if parts is None or parts["place"] not in ("", "localhost") or not parts["rest"] or "%00" in url:
        raise _refuse(url, "not a folder of this host; accepted is file:///folder")
    return Path("/" + unquote(parts["rest"]))


def open_bucket(url: str, settings: StoreSettings) -> ObjectStore:
    """Open the bucket of an `s3://`, `gs://`, `az://` (a container) or `memory://` URL, for use with obstore.

    The path of the URL is a prefix, without percent-encoding; all other paths are relative to it. No request is sent
    yet. Each call opens new connections, so keep the result; any thread may use it.

    Requests are retried with a backoff after 408, 429, 5xx and lost connections; they fail after `store_timeout_secs`
    at the latest.

    Raises:
        SettingsError: the URL or the cloud's variables cannot be used.
    """
    scheme, bucket, prefix = _split_bucket(url)
    try:
        import obstore.store as stores
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise _refuse(url, "the library for buckets is missing; pip install obstore") from error
    if scheme == "memory":
        return stores.MemoryStore()
    options: Any = {
        "config": client_options(settings),
        "retry_config": retry_config(settings),
        "prefix": prefix or None,
    }
    try:
        if scheme == "s3":
            return stores.S3Store(bucket, **options)
        if scheme == "gs":
            return stores.GCSStore(bucket, **options)
        return stores.AzureStore(bucket, **options)
    except (BaseError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise _refuse(url, f"the environment variables cannot be used: {reason}") from error


def _open_webdav(url: str, settings: StoreSettings) -> Store:
    """Open a WebDAV server's folder. Only settings can name one; jobs can name buckets only."""
    parts = _WEB.fullmatch(url)
    if parts is None or _DOTS.search(parts["folder"]):
        raise _refuse(url, "not a store; accepted is http://host:port/prefix with letters, digits, '.-_~'")
    token = settings.store_token
    if token is not None and not _TOKEN.fullmatch(token):
        raise SettingsError("invalid_settings", "PENSTOCK_STORE_TOKEN: accepted are letters, digits and -._~+/=")
    try:
        from obstore.exceptions import BaseError
        from obstore.store import HTTPStore

        from penstock.common.store.webdav import WebDavClient, WebDavStore
    except ImportError as error:
        raise _refuse(url, "the library for it is missing; pip install obstore") from error
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    folder = parts["folder"].rstrip("/")
    client = WebDavClient(
        secure=parts["scheme"].lower() == "https",
        host=parts["host"].strip("[]"),
        port=int(parts["port"]) if parts["port"] else None,
        folder=folder,
        attempt_secs=settings.store_timeout_secs * _ATTEMPT,
        retry_secs=settings.store_timeout_secs * _RETRY,
        headers=headers,
    )
    options: Any = {**client_options(settings), "allow_http": not client.secure, "default_headers": headers}
    try:
        bucket = HTTPStore(url.rstrip("/"), client_options=options, retry_config=retry_config(settings))
    except (BaseError, ValueError) as error:
        raise _refuse(url, "not a store; accepted is http://host:port/prefix") from error
    return WebDavStore(bucket, client)


def _split_bucket(url: str) -> tuple[str, str, str]:
    parts = _URL.fullmatch(url)
    scheme = parts["scheme"].lower() if parts else ""
    if parts is None or scheme not in ("s3", "gs", "az", "memory"):
        raise _refuse(url, f"accepted is one of {SCHEMES}")
    bucket, prefix = parts["place"], parts["rest"].strip("/")
    if scheme == "memory":
        if bucket or prefix:
            raise _refuse(url, "accepted is memory:// alone")
    elif not _BUCKET.fullmatch(bucket):
        raise _refuse(url, f"not a bucket; accepted is {scheme}://bucket/prefix with letters, digits, '.-_'")
    return scheme, bucket, prefix


_ATTEMPT = 0.3
_RETRY = 0.6
# An attempt may take 0.3 of `store_timeout_secs`, and none is scheduled after 0.6 of it. With a pause of at most 0.1
# before it, the last attempt ends in time, and a request without a response is always sent a second time.


def client_options(settings: StoreSettings) -> dict[str, str]:
    """Return obstore options. As `config` they leave those of the environment alone; `client_options` would not."""
    attempt_secs = settings.store_timeout_secs * _ATTEMPT
    return {"timeout": _duration(attempt_secs), "connect_timeout": _duration(min(_CONNECT_SECS, attempt_secs))}


def retry_config(settings: StoreSettings) -> RetryConfig:
    """Return how obstore retries a request, so that the last attempt ends within `store_timeout_secs`."""
    longest_pause_secs = settings.store_timeout_secs * 0.1
    return {
        "max_retries": 1_000,
        "retry_timeout": timedelta(seconds=settings.store_timeout_secs * _RETRY),
        "backoff": {
            "init_backoff": timedelta(seconds=min(_FIRST_PAUSE_SECS, longest_pause_secs)),
            "max_backoff": timedelta(seconds=longest_pause_secs),
            "base": 2,
        },
    }


def _duration(secs: float) -> str:
    return f"{max(1, round(secs * 1000))}ms"


def _refuse(url: str, reason: str) -> SettingsError:
    shown = re.sub(r"//[^/]*@", "//…@", url)  # a password, which does not belong there
    return SettingsError("invalid_settings", f"{shown!r}: {reason}")
